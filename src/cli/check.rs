//! `voxrelay check`: every fault of a config at once, or every value that results from it.

use serde_json::{Map, Value, json};

use super::common::{Common, pairs};
use super::error::CliError;
use crate::config::{Config, ConfigFault, environment};

/// `voxrelay check`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
}

/// Checks the config of file and environment.
///
/// # Errors
/// It has faults.
pub async fn run(args: Args) -> Result<(), CliError> {
    let Args { common } = args;
    match Config::load(common.config.as_deref(), environment()) {
        Ok(config) => {
            let rows = config.describe();
            common.print(|| json!({ "ok": true, "values": values(&rows) }), || good(&common, &rows))
        }
        Err(faults) if common.json => {
            let faults: Vec<_> = faults.iter().map(fault).collect();
            common.print(|| json!({ "ok": false, "faults": faults }), String::new)?;
            Err(CliError::ConfigTold)
        }
        Err(faults) => Err(CliError::Config(faults)),
    }
}

fn good(common: &Common, rows: &[(String, String)]) -> String {
    let what = common.config.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
    format!("{what}: no faults. These values hold:\n\n{}", pairs(rows))
}

/// The values by key; what is not set is null.
fn values(rows: &[(String, String)]) -> Map<String, Value> {
    rows.iter()
        .map(|(key, value)| (key.clone(), serde_json::from_str(value).unwrap_or(Value::Null)))
        .collect()
}

fn fault(fault: &ConfigFault) -> Value {
    json!({
        "file": fault.file.as_ref().map(|file| file.display().to_string()),
        "line": fault.line,
        "variable": fault.variable,
        "message": fault.message,
    })
}
