//! Environment variables laid over the file.
//!
//! `VOXRELAY__SECTION__KEY` sets `key` of `[section]`; more `__` go deeper. Case does not matter, and
//! `_` also stands for the `-` of a name. Entries of a list go by number (`VOXRELAY__UPSTREAM__0__URL`;
//! the first free number adds an entry) or by their name (`VOXRELAY__UPSTREAM__CARTESIA_EU__URL`).
//! A value is text, number or flag as the key wants, or TOML when it is a list or an inline table.

use std::collections::BTreeMap;

use super::fault::{Faults, Place};
use super::tree::{Node, Table, Value, parse_inline};

/// Lays every variable that begins with `prefix` over `root`.
pub(super) fn overlay(root: &mut Node, prefix: &str, variables: &BTreeMap<String, String>, faults: &Faults) {
    let mut ours: Vec<_> = variables
        .iter()
        .filter_map(|(name, value)| {
            let path: Vec<&str> = name.strip_prefix(prefix)?.split("__").collect();
            Some((path, name, value))
        })
        .collect();
    // Entry 9 of a list must exist before entry 10.
    ours.sort_by_key(|(path, ..)| {
        path.iter().map(|step| (step.parse().unwrap_or(usize::MAX), *step)).collect::<Vec<_>>()
    });
    for (path, name, value) in ours {
        let place = Place::Variable(name.clone());
        let leaf = parse_leaf(value, &place);
        if let Err(message) = put(root, &path, leaf, &place) {
            faults.add(&place, message);
        }
    }
}

fn parse_leaf(value: &str, place: &Place) -> Node {
    let structured = value.trim_start().starts_with(['{', '[']);
    let parsed = if structured { parse_inline(value, place) } else { None };
    parsed.unwrap_or_else(|| Node { value: Value::Text(value.to_owned()), place: place.clone() })
}

fn put(node: &mut Node, path: &[&str], leaf: Node, place: &Place) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else {
        *node = leaf;
        return Ok(());
    };
    if step.is_empty() {
        return Err("a step of its name is empty; write VOXRELAY__SECTION__KEY".to_owned());
    }
    let next = match &mut node.value {
        Value::Table(table) => table_entry(table, step, rest, place),
        Value::List(items) => list_entry(items, step, place)?,
        _ => return Err(format!("there is nothing below \"{}\" to set", step.to_lowercase())),
    };
    put(next, rest, leaf, place)
}

fn table_entry<'t>(table: &'t mut Table, step: &str, rest: &[&str], place: &Place) -> &'t mut Node {
    let key = table.keys().find(|key| same_name(key, step)).cloned().unwrap_or_else(|| step.to_lowercase());
    table.entry(key).or_insert_with(|| {
        let numbered = rest.first().is_some_and(|next| next.parse::<usize>().is_ok());
        let value = if numbered { Value::List(Vec::new()) } else { Value::Table(Table::new()) };
        Node { value, place: place.clone() }
    })
}

fn list_entry<'t>(items: &'t mut Vec<Node>, step: &str, place: &Place) -> Result<&'t mut Node, String> {
    let count = items.len();
    let index = match step.parse::<usize>() {
        Ok(index) => index,
        Err(_) => items
            .iter()
            .position(|item| named(item).is_some_and(|name| same_name(name, step)))
            .ok_or_else(|| format!("no entry is named \"{}\"", step.to_lowercase()))?,
    };
    if index == count {
        items.push(Node::table(place.clone()));
    }
    items.get_mut(index).ok_or_else(|| format!("there is no entry {index}; the next free number is {count}"))
}

fn named(item: &Node) -> Option<&str> {
    match &item.value {
        Value::Table(table) => table.get("name")?.text(),
        _ => None,
    }
}

fn same_name(key: &str, step: &str) -> bool {
    key.replace('-', "_").eq_ignore_ascii_case(&step.replace('-', "_"))
}
