#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| sidle_fuzz::http1_response::run(data));
