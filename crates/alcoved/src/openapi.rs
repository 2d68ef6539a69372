//! The API's description, made from the wire types.

use alcove_types::{
    ApiError, boot::BootReport, cluster, host, image, machine, operation::OperationList, session,
    settings::SettingsView, status::Status, task,
};
use axum::Json;
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

struct Operation {
    path: &'static str,
    method: &'static str,
    summary: &'static str,
    request: Option<Value>,
    status: &'static str,
    response: Option<Value>,
}

/// `GET /api/v1/openapi.json`.
pub(crate) async fn document() -> Json<Value> {
    Json(build())
}

fn build() -> Value {
    // OpenAPI 3.1 takes JSON Schema 2020-12 as it is; only the definitions' place differs.
    let settings = SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into());
    let mut schemas = settings.into_generator();
    let error = schema::<ApiError>(&mut schemas);
    let mut paths: Map<String, Value> = Map::new();
    for operation in operations(&mut schemas) {
        let mut responses = json!({
            "default": { "description": "An error.", "content": { "application/json": { "schema": error } } }
        });
        responses[operation.status] = match operation.response {
            Some(schema) => {
                json!({ "description": "Done.", "content": { "application/json": { "schema": schema } } })
            }
            None => json!({ "description": "A stream, a text or a conversation." }),
        };
        let mut entry = json!({ "summary": operation.summary, "responses": responses });
        let parameters: Vec<Value> = operation
            .path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
            .collect();
        if !parameters.is_empty() {
            entry["parameters"] = Value::Array(parameters);
        }
        if let Some(schema) = operation.request {
            entry["requestBody"] = json!({ "content": { "application/json": { "schema": schema } } });
        }
        let path = paths.entry(format!("/api/v1{}", operation.path)).or_insert_with(|| json!({}));
        path[operation.method] = entry;
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Alcove",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Everything that Alcove's window, command line and tests do. Mutations take an `Idempotency-Key`.",
        },
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "session": { "type": "apiKey", "in": "cookie", "name": "alcove_session_PORT" },
            },
        },
    })
}

fn schema<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Value {
    schemas.subschema_for::<T>().to_value()
}

/// Every operation; a test holds this list against the router.
fn operations(s: &mut SchemaGenerator) -> Vec<Operation> {
    let mut all = Vec::new();
    let mut add = |method, path, summary, request, status, response| {
        all.push(Operation { path, method, summary, request, status, response });
    };
    let task = Some(schema::<task::Task>(s));
    let fetched = task.clone();
    add("get", "/version", "Versions of the parts", None, "200", Some(schema::<session::VersionInfo>(s)));
    add("get", "/openapi.json", "This document", None, "200", None);
    add("get", "/status", "The whole state in one small document", None, "200", Some(schema::<Status>(s)));
    add("get", "/machine", "The machine as it is", None, "200", Some(schema::<machine::Machine>(s)));
    add("post", "/machine", "Make the machine", Some(schema::<machine::MachineSetup>(s)), "202", task.clone());
    add(
        "get",
        "/machine/proposal",
        "Sane sizes for this host",
        None,
        "200",
        Some(schema::<machine::MachineProposal>(s)),
    );
    add(
        "post",
        "/machine/start",
        "Bring the machine up",
        Some(schema::<machine::StartRequest>(s)),
        "202",
        task.clone(),
    );
    add("post", "/machine/suspend", "Save the machine to disk", None, "202", task.clone());
    add("post", "/machine/resume", "Bring a saved machine back", None, "202", task.clone());
    add("post", "/machine/stop", "Shut the machine down", None, "202", task.clone());
    add("post", "/machine/restart", "Shut the machine down and boot it anew", None, "202", task.clone());
    add("post", "/machine/kill", "Switch the machine off at once", None, "202", task.clone());
    add("post", "/machine/reset", "Destroy the machine", Some(schema::<machine::ResetRequest>(s)), "202", task.clone());
    add("get", "/machine/boot", "The present or last boot", None, "200", Some(schema::<BootReport>(s)));
    add("get", "/machine/console", "The serial log", None, "200", None);
    add("get", "/machine/console/attach", "The serial console (WebSocket)", None, "101", None);
    add("get", "/machine/shell", "A shell in the guest (WebSocket)", None, "101", None);
    add("get", "/machine/logs", "Logs by source", None, "200", None);
    add("get", "/machine/snapshots", "Copies that are kept", None, "200", Some(schema::<Vec<machine::Snapshot>>(s)));
    add("post", "/machine/snapshots", "Keep a copy", Some(schema::<machine::SnapshotRequest>(s)), "202", task.clone());
    add("delete", "/machine/snapshots/{name}", "Delete a copy", None, "202", task.clone());
    add("post", "/machine/snapshots/{name}/restore", "Put a copy in the machine's place", None, "202", task);
    let images = Some(schema::<image::ImageList>(s));
    add("get", "/images", "Guest images of this computer", None, "200", images.clone());
    add("post", "/images/fetch", "Bring a guest image", Some(schema::<image::ImageFetch>(s)), "202", fetched);
    add("delete", "/images/{version}", "Delete a guest image", None, "200", images);
    add("get", "/host", "Facts about this host", None, "200", Some(schema::<host::HostFacts>(s)));
    add("get", "/doctor", "Checks of this host", None, "200", Some(schema::<host::DoctorReport>(s)));
    add("get", "/settings", "Settings", None, "200", Some(schema::<SettingsView>(s)));
    add(
        "patch",
        "/settings",
        "Change settings (JSON merge patch)",
        Some(json!({ "type": "object" })),
        "200",
        Some(schema::<SettingsView>(s)),
    );
    add("get", "/tasks", "Long work", None, "200", Some(schema::<task::TaskList>(s)));
    add("get", "/tasks/{id}", "One task", None, "200", Some(schema::<task::Task>(s)));
    add("post", "/tasks/{id}/cancel", "Cancel a task", None, "200", Some(schema::<task::Task>(s)));
    add("get", "/operations", "The operation log", None, "200", Some(schema::<OperationList>(s)));
    add("get", "/events", "What changes (server-sent events)", None, "200", None);
    add(
        "post",
        "/tickets",
        "A link that signs a browser in, once",
        Some(schema::<session::TicketRequest>(s)),
        "200",
        Some(schema::<session::Ticket>(s)),
    );
    add("post", "/quit", "Bring the machine to rest and end", Some(schema::<machine::QuitRequest>(s)), "200", None);
    add("get", "/cluster/overview", "Counts", None, "200", Some(schema::<cluster::ClusterOverview>(s)));
    add("get", "/cluster/nodes", "Nodes", None, "200", Some(schema::<cluster::NodeList>(s)));
    add("get", "/cluster/pods", "Pods", None, "200", Some(schema::<cluster::PodList>(s)));
    add("get", "/cluster/events", "Events", None, "200", Some(schema::<cluster::EventList>(s)));
    add("get", "/cluster/pods/{namespace}/{name}/logs", "A container's log", None, "200", None);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The router's own source is the list of what is served.
    #[test]
    fn every_route_is_described_and_nothing_else() {
        let source = include_str!("routes/mod.rs");
        let mut served: Vec<(String, String)> = Vec::new();
        let api = source.split("let guarded").next().unwrap();
        for line in api.lines().filter_map(|l| l.trim().strip_prefix(".route(\"")) {
            let (path, handlers) = line.split_once("\", ").unwrap();
            for method in ["get", "post", "patch", "delete", "any"] {
                if handlers.split(|c: char| !c.is_alphanumeric()).any(|w| w == method) {
                    let method = if method == "any" { "get" } else { method };
                    served.push((method.to_owned(), format!("/api/v1{path}")));
                }
            }
        }
        served.sort();
        let document = build();
        let mut described: Vec<(String, String)> = document["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(|m| (m.clone(), path.clone())))
            .collect();
        described.sort();
        assert_eq!(described, served);
    }

    #[test]
    fn references_lead_to_schemas_that_are_there() {
        let document = build();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"").skip(1) {
            let name = reference.split('"').next().unwrap().strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
    }
}
