#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidle_fuzz::http2::run(data));
