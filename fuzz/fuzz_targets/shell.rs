//! libFuzzer's entry to the target `shell`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fuzz_targets::shell::run(data);
});
