#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| litestream_fuzz::control_request(data));
