"""Alibaba's object storage, in front of a moto that checks nothing.

Both speak nearly the same: names of metadata headers differ, and the signature. It is checked here (version 4, in the
Authorization header) against the key whose name and secret are on the command line.
"""

import hashlib
import hmac
import sys
import urllib.parse

import relay

KEY_ID, SECRET = sys.argv[3], sys.argv[4]
SCHEME = "OSS4-HMAC-SHA256"
META_OSS, META_S3 = "x-oss-meta-", "x-amz-meta-"
# Moto would take them for its own.
DROPPED = {"authorization", "x-oss-date", "x-oss-content-sha256", "content-md5"}
# Moto gives objects only to those who say who they are, and believes them.
SOMEBODY = "AWS4-HMAC-SHA256 Credential=x/20200101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"


def error(status, code, text):
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{text}</Message>'
    return relay.Refusal(status, (body + "<RequestId>adapter</RequestId></Error>").encode())


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def encode(text, safe):
    return urllib.parse.quote(urllib.parse.unquote(text), safe=safe)


def signature(method, target, headers, scope, additional):
    """What the signature of a request must be."""
    path, _, query = target.partition("?")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    pairs = sorted((encode(name, "-_.~"), encode(value, "-_.~")) for name, _, value in pairs)
    query = "&".join(f"{name}={value}" if value else name for name, value in pairs)
    signed = sorted(
        name
        for name in headers
        if name.startswith("x-oss-") or name in ("content-type", "content-md5") or name in additional
    )
    request = "\n".join(
        [
            method,
            encode(path, "/-_.~"),
            query,
            "".join(f"{name}:{headers[name].strip()}\n" for name in signed),
            ";".join(sorted(additional)),
            headers.get("x-oss-content-sha256", "UNSIGNED-PAYLOAD"),
        ]
    )
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join([SCHEME, headers.get("x-oss-date", ""), "/".join(scope), digest])
    key = ("aliyun_v4" + SECRET).encode()
    for part in scope:
        key = mac(key, part)
    return mac(key, text).hex()


class Oss(relay.Relay):
    def onward(self, headers, body):
        self.check({name.lower(): value for name, value in headers})
        passed = [pair for pair in headers if pair[0].lower() not in DROPPED]
        passed.append(("Authorization", SOMEBODY))
        return [(self.renamed(name, META_OSS, META_S3), value) for name, value in passed]

    def answer(self, status, headers):
        renamed = [(self.renamed(name, META_S3, META_OSS), value) for name, value in headers]
        return status, renamed + [("x-oss-request-id", "adapter")]

    @staticmethod
    def renamed(name, old, new):
        return new + name[len(old):] if name.lower().startswith(old) else name

    def check(self, headers):
        if self.command == "GET" and self.path == "/" and "authorization" not in headers:
            return  # somebody looks whether the server is up
        scheme, _, fields = headers.get("authorization", "").partition(" ")
        if scheme != SCHEME:
            raise error(403, "AccessDenied", "a signature of version 4 is wanted")
        fields = dict(field.strip().split("=", 1) for field in fields.split(","))
        key_id, *scope = fields.get("Credential", "").split("/")
        if key_id != KEY_ID:
            raise error(403, "InvalidAccessKeyId", "nobody has this access key")
        additional = [name for name in fields.get("AdditionalHeaders", "").split(";") if name]
        wanted = signature(self.command, self.path, headers, scope, additional)
        if len(scope) != 4 or scope[2:] != ["oss", "aliyun_v4_request"] or wanted != fields.get("Signature"):
            raise error(403, "SignatureDoesNotMatch", "the signature does not match the request")


relay.serve(Oss)
