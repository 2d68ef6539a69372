//! `alcove settings`.

use alcove_types::{ApiError, ErrorCode, settings::SettingsView};
use serde_json::{Map, Value, json};

use super::Context;
use crate::{
    args::SettingsCommand,
    exit::{Failure, usage},
    output::table,
    words::{parse_size, size},
};

const PATH: &str = "/api/v1/settings";

pub(crate) async fn run(context: &Context<'_>, command: Option<&SettingsCommand>) -> Result<(), Failure> {
    let client = context.connect_at_rest().await?;
    let view = client.settings().await?;
    let now = serde_json::to_value(&view.settings).unwrap_or_default();
    match command {
        None | Some(SettingsCommand::List) => context.output.data(&view, || list(&view, &now)),
        Some(SettingsCommand::Get { key }) => {
            let value = at(&now, key).ok_or_else(|| unknown(key, &now))?;
            context.output.data(value, || plain(value));
        }
        Some(SettingsCommand::Set { key, value }) => {
            let parsed = parse(key, value, at(&now, key))?;
            change(context, &client, &patch(key, parsed)).await?;
            told_by_the_window(context, key);
        }
        Some(SettingsCommand::Unset { key }) => {
            at(&now, key).ok_or_else(|| unknown(key, &now))?;
            change(context, &client, &patch(key, Value::Null)).await?;
            told_by_the_window(context, key);
        }
    }
    Ok(())
}

/// The window puts itself among what the system starts, as this setting says.
fn told_by_the_window(context: &Context<'_>, key: &str) {
    if key == "start_at_login" {
        context.output.note(
            "start_at_login: takes effect at once where Alcove's window or tray is open, else when it is opened next.",
        );
    }
}

async fn change(context: &Context<'_>, client: &alcove_client::Client, patch: &Value) -> Result<(), Failure> {
    let view: SettingsView = client.patch(PATH, patch).await?;
    if context.output.json {
        context.output.data(&view, String::new);
    } else if !view.restart_needed.is_empty() {
        let keys = view.restart_needed.join(", ");
        context.output.note(&format!("{keys}: takes effect when the machine is restarted (`alcove restart`)."));
    }
    Ok(())
}

/// The value under a dotted name.
fn at<'a>(settings: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(settings, |value, part| value.get(part))
}

/// A merge patch that changes one value.
fn patch(key: &str, value: Value) -> Value {
    key.rsplit('.').fold(value, |inner, part| {
        let mut object = Map::new();
        object.insert(part.to_owned(), inner);
        Value::Object(object)
    })
}

/// Reads a value as its setting needs it; what it then means is the supervisor's to judge.
fn parse(key: &str, text: &str, present: Option<&Value>) -> Result<Value, Failure> {
    if key.ends_with("_bytes") {
        return parse_size(text).map(Value::from).map_err(|e| usage(format!("{key}: {e}"), "Such as 4GB."));
    }
    let literal: Option<Value> = serde_json::from_str(text).ok().filter(|v: &Value| !v.is_object() && !v.is_array());
    Ok(match (present, literal) {
        (Some(Value::Bool(_)), None) => match text {
            "on" | "yes" => Value::Bool(true),
            "off" | "no" => Value::Bool(false),
            _ => return Err(usage(format!("{key}: {text:?} is neither true nor false"), "Write `true` or `false`.")),
        },
        // A name may look like a number.
        (Some(Value::String(_)), Some(literal)) if !literal.is_string() => Value::String(text.to_owned()),
        (_, Some(literal)) => literal,
        (_, None) => Value::String(text.to_owned()),
    })
}

fn unknown(key: &str, settings: &Value) -> ApiError {
    let names: Vec<String> = flat(settings, "").into_iter().map(|(name, _)| name).collect();
    let hint = format!("There are: {}.", names.join(", "));
    ApiError::new(ErrorCode::BadRequest, format!("there is no setting {key:?}"), hint)
}

/// Names and values, dotted.
fn flat(value: &Value, prefix: &str) -> Vec<(String, Value)> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, inner)| {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flat(inner, &name)
            })
            .collect(),
        other => vec![(prefix.to_owned(), other.clone())],
    }
}

fn list(view: &SettingsView, now: &Value) -> String {
    let defaults = flat(&json!(view.defaults), "");
    let rows: Vec<Vec<String>> = flat(now, "")
        .into_iter()
        .map(|(name, value)| {
            let shown = match value.as_u64() {
                Some(bytes) if name.ends_with("_bytes") => format!("{bytes} ({})", size(bytes)),
                _ => plain(&value),
            };
            let changed = !defaults.iter().any(|(n, v)| *n == name && *v == value);
            let waits = view.restart_needed.iter().any(|k| *k == name || name.starts_with(&format!("{k}.")));
            let mark = match (changed, waits) {
                (_, true) => "waits for a restart",
                (true, false) => "changed",
                _ => "",
            };
            vec![name, shown, mark.to_owned()]
        })
        .collect();
    table(&rows)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_reach_nested_values() {
        assert_eq!(patch("machine.cpus", json!(4)), json!({"machine": {"cpus": 4}}));
        assert_eq!(patch("theme", Value::Null), json!({"theme": null}));
    }

    #[test]
    fn values_fit_their_settings() {
        let parse = |key: &str, text: &str, present: Value| super::parse(key, text, Some(&present)).ok();
        assert_eq!(parse("machine.memory_bytes", "4GiB", json!(1)), Some(json!(4_294_967_296u64)));
        assert_eq!(parse("start_at_login", "on", json!(false)), Some(json!(true)));
        assert_eq!(parse("start_at_login", "true", json!(false)), Some(json!(true)));
        assert_eq!(parse("start_at_login", "maybe", json!(false)), None);
        assert_eq!(parse("display_name", "2024", json!("")), Some(json!("2024")));
        assert_eq!(parse("display_name", "Ada L", json!("")), Some(json!("Ada L")));
        assert_eq!(parse("language", "zh", Value::Null), Some(json!("zh")));
        assert_eq!(parse("machine.cpus", "4", json!(2)), Some(json!(4)));
        assert_eq!(parse("machine.memory_bytes", "lots", json!(1)), None);
    }
}
