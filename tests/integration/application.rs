//! `sidle run … -- CMD`: the application starts with the proxy and ends it.

use sidle_test_support::{echo::Echo, manifest::service, peers, sidle::Sidle, wait};

#[test]
fn the_exit_code_is_the_applications() {
    for code in [0, 7] {
        let mut sidle = Sidle::builder().application(&["sh", "-c", &format!("exit {code}")]).spawn();
        assert_eq!(sidle.wait().code(), Some(code), "{}", sidle.output());
    }
}

#[test]
fn the_application_can_use_the_proxy_from_its_first_line() {
    let Some(curl) = peers::find("curl") else { return };
    let echo = Echo::start("v1");
    let builder =
        Sidle::builder().file("test.yaml", &service("echo", "echo.test", "HTTP", &[("v1", echo.port())]));
    let script =
        format!("{} -sSf -x http://{} http://echo.test/first", curl.display(), builder.ports().outbound);
    let mut sidle = builder.application(&["sh", "-c", &script]).spawn();
    assert_eq!(sidle.wait().code(), Some(0), "{}", sidle.output());
    assert_eq!(echo.last().path, "/first");
}

#[test]
fn sigterm_reaches_the_application_which_is_served_while_it_ends() {
    let Some(curl) = peers::find("curl") else { return };
    let echo = Echo::start("v1");
    let builder =
        Sidle::builder().file("test.yaml", &service("echo", "echo.test", "HTTP", &[("v1", echo.port())]));
    let script = format!(
        "trap '{} -sSf -x http://{} http://echo.test/last; exit 3' TERM; echo started; while :; do sleep 0.1; done",
        curl.display(),
        builder.ports().outbound
    );
    let mut sidle = builder.application(&["sh", "-c", &script]).spawn();
    wait::until("the application", || sidle.output().contains("started\n").then_some(()));
    sidle.signal("TERM");
    assert_eq!(sidle.wait().code(), Some(3), "{}", sidle.output());
    assert_eq!(echo.last().path, "/last");
}
