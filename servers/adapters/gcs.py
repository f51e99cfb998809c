"""For Go's client of Google's storage, in front of gcp-storage-emulator.

After each piece of a long upload that client wants a 200 that says "really 308" in a header, and says so in its
request. The emulator answers a plain 308.
"""

import relay


class Gcs(relay.Relay):
    def answer(self, status, headers):
        if status == 308 and self.headers.get("X-GUploader-No-308") == "yes":
            return 200, headers + [("X-HTTP-Status-Code-Override", "308")]
        return status, headers


relay.serve(Gcs)
