//! The first command of the README.

use sidle_test_support::sidle::command;

#[tokio::test]
async fn the_demo_sees_everything_and_says_so() {
    let _machine = crate::MACHINE.lock().await;
    let output = command().args(["demo", "--seconds", "15"]).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(!said.contains('\u{1b}'), "plain lines in a pipe");
}
