//! `alcove doctor`: with the supervisor's help when it runs, without it otherwise.

use alcove_machine::secrets::Vault;
use alcove_types::{
    ErrorCode,
    host::{CheckStatus, DoctorReport},
};

use super::Context;
use crate::{
    exit::{self, Failure},
    output::{Output, Role},
};

pub(crate) async fn run(context: &Context<'_>) -> Result<(), Failure> {
    let report = match context.connect().await {
        Ok(client) => client.doctor().await?,
        Err(e) if e.code == ErrorCode::SupervisorUnreachable => {
            let layout = context.layout()?;
            let mut checks = alcove_host::checks(layout.home().data());
            checks.push(alcove_host::secrets_check(&Vault::of_session().kept(&layout)));
            DoctorReport { checks }
        }
        Err(e) => return Err(e.into()),
    };
    context.output.data(&report, || describe(context.output, &report));
    let fails = report.checks.iter().any(|c| c.status == CheckStatus::Fail);
    if fails { Err(Failure::Code(exit::HOST)) } else { Ok(()) }
}

fn describe(output: &Output, report: &DoctorReport) -> String {
    let mut text = String::new();
    for check in &report.checks {
        let (sign, role) = match check.status {
            CheckStatus::Ok => ("✓", Role::Good),
            CheckStatus::Warn => ("!", Role::Attention),
            CheckStatus::Fail => ("✗", Role::Failed),
        };
        text.push_str(&format!("{} {:<24} {}\n", output.paint(role, sign), check.title, check.message));
        if !check.hint.is_empty() {
            text.push_str(&format!("  {} {}\n", output.paint(Role::Hint, "hint:"), check.hint));
        }
    }
    let count = |status| report.checks.iter().filter(|c| c.status == status).count();
    text.push_str(&match (count(CheckStatus::Fail), count(CheckStatus::Warn)) {
        (0, 0) => "This computer can run Alcove.\n".to_owned(),
        (0, _) => "This computer can run Alcove, with the drawbacks above.\n".to_owned(),
        (1, _) => "One thing stands in the way.\n".to_owned(),
        (fails, _) => format!("{fails} things stand in the way.\n"),
    });
    text
}
