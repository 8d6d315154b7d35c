//! `voxrelay orgs`: organisations and the plans they are on.

use serde_json::{Value, json};

use super::common::{Common, table, time};
use super::error::CliError;
use crate::config::{Config, DEFAULT_NAME, name_problem};
use crate::store::{Org, Store};

/// `voxrelay orgs`
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make an organisation
    Create {
        /// Its name
        name: String,
        /// The plan it is on, from the config
        #[arg(long, default_value = DEFAULT_NAME)]
        plan: String,
        /// Streams at once, over the plan's limit
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        streams: Option<u64>,
    },
    /// List every organisation
    List,
    /// Change an organisation
    Set {
        /// Its name
        name: String,
        /// The plan it is on, from the config
        #[arg(long)]
        plan: Option<String>,
        /// Streams at once, over the plan's limit
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
        streams: Option<u64>,
        /// Go back to the plan's limit of streams
        #[arg(long, conflicts_with = "streams")]
        plan_streams: bool,
    },
}

/// Runs one of the commands.
///
/// # Errors
/// The config does not load, or the store cannot do it.
pub async fn run(args: Args) -> Result<(), CliError> {
    let Args { common, command } = args;
    let config = common.load()?;
    let store = match &command {
        Command::Create { name, plan, .. } => {
            if let Some(problem) = name_problem(name) {
                return Err(CliError::Failed(format!("the name {problem}")));
            }
            check_plan(&config, plan)?;
            common.store(&config).await?
        }
        Command::Set { plan: Some(plan), .. } => {
            check_plan(&config, plan)?;
            common.existing_store(&config).await?
        }
        _ => common.existing_store(&config).await?,
    };
    let outcome = act(&common, &store, command).await;
    store.close().await;
    outcome
}

async fn act(common: &Common, store: &Store, command: Command) -> Result<(), CliError> {
    match command {
        Command::Create { name, plan, streams } => {
            let org = store.create_org(&name, &plan, streams).await?;
            common.print(|| to_json(&org), || made(&org))
        }
        Command::List => {
            let orgs = store.list_orgs().await?;
            common.print(|| orgs.iter().map(to_json).collect(), || listed(&orgs))
        }
        Command::Set { name, plan, streams, plan_streams } => {
            let streams = if plan_streams { Some(None) } else { streams.map(Some) };
            store.set_org(&name, plan.as_deref(), streams).await?;
            let orgs: Vec<_> = store.list_orgs().await?.into_iter().filter(|org| org.name == name).collect();
            common.print(|| orgs.first().map(to_json).into(), || listed(&orgs))
        }
    }
}

fn made(org: &Org) -> String {
    let Org { name, plan, .. } = org;
    format!(
        "Made the organisation {name} on the plan {plan}. A key for it:\n\n    \
         voxrelay keys create --org {name} --name NAME\n"
    )
}

fn check_plan(config: &Config, plan: &str) -> Result<(), CliError> {
    if config.plans.contains_key(plan) {
        return Ok(());
    }
    let plans: Vec<_> = config.plans.keys().map(String::as_str).collect();
    let plans = plans.join(", ");
    Err(CliError::Failed(format!("the config has no plan \"{plan}\"; it has {plans}; add [plans.{plan}]")))
}

fn to_json(org: &Org) -> Value {
    json!({ "name": org.name, "plan": org.plan, "streams": org.streams, "created": time(org.created) })
}

fn listed(orgs: &[Org]) -> String {
    let row = |org: &Org| {
        let streams = org.streams.map_or("as the plan".to_owned(), |streams| streams.to_string());
        vec![org.name.clone(), org.plan.clone(), streams, time(org.created)]
    };
    table(&["NAME", "PLAN", "STREAMS", "CREATED"], &orgs.iter().map(row).collect::<Vec<_>>())
}
