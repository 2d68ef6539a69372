//! Alcove's daemon in the guest: opens the door to the host, answers the guest API, tells how the boot goes, watches
//! over what the machine promises, and ends it in order.
//!
//! `alcove-guest stop-pods` is what systemd runs when the machine is switched off: it asks every pod to end.

mod daemon;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => daemon::run(),
        ["stop-pods"] => daemon::pods::stop(),
        _ => Err(anyhow::anyhow!("alcove-guest is started by systemd; its only command is stop-pods")),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            daemon::say(&format!("{error:#}"));
            std::process::ExitCode::FAILURE
        }
    }
}
