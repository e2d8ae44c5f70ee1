//! libFuzzer's entry to the target `image`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz_targets::image::run(data);
});
