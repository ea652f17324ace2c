//! Tests in a process of their own.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "as the test in the other process does"
)]
use std::process::Command;

/// Set to the name of the test that is alone in its process.
const ALONE: &str = "TEST_ALONE";

/// Is this a process of the test's own? If not, the test runs in one until this returns.
///
/// For tests that measure their process, such as its memory: in one that they share with others,
/// theirs would be measured too.
///
/// # Panics
/// When the test does.
pub fn is_alone(test: &str) -> bool {
    if std::env::var(ALONE).as_deref() == Ok(test) {
        return true;
    }
    let program = std::env::current_exe().expect("this program");
    again(Command::new(program), ALONE, test);
    false
}

/// Runs a test of this program by `command`, with its name in `variable`.
pub(super) fn again(mut command: Command, variable: &str, test: &str) {
    let output = command
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(variable, test)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stdout);
    // By macros, so that it is shown as this test's own, and only where that is.
    print!("{said}");
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "it failed in its own process");
    assert!(said.contains("1 passed"), "there is no test {test}");
}
