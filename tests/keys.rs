//! Keys: their shape, the store that knows them, and who is let in.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests are tests

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use tempfile::TempDir;
use voxrelay::auth::{Authenticator, Checked};
use voxrelay::config::{AuthMode, Config};
use voxrelay::drain::Drain;
use voxrelay::keys::{KeyFault, Pepper, Scope, Secret};
use voxrelay::metrics::AuthResult;
use voxrelay::store::{Ledger, NewKey, Store, StoreError, Usage, UsageRecord};
use voxrelay_protocol::FaultCode;
use voxrelay_protocol::request::Credential;

#[test]
fn a_made_secret_has_the_shape_of_the_contract_and_parses() {
    for _ in 0..200 {
        let secret = Secret::generate().unwrap();
        let text = secret.expose();
        assert_eq!(text.len(), 35);
        let body = text.strip_prefix("sk-").unwrap();
        assert!(body.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_eq!(Secret::parse(text).unwrap().expose(), text);
        assert!(!format!("{secret:?}").contains(body));
    }
}

#[test]
fn the_check_is_the_crc_32_in_base_62_padded_with_zeros() {
    // Both numbers come from another implementation of CRC-32.
    for (random, crc) in [("0".repeat(26), 0xd66c01c2), ("A".repeat(26), 0x0f651227)] {
        assert!(Secret::parse(&format!("sk-{random}{}", base62(crc))).is_ok(), "{random}");
    }
}

#[test]
fn random_characters_are_evenly_spread() {
    let mut counts = [0u32; 256];
    for _ in 0..4_000 {
        for byte in Secret::generate().unwrap().expose()[3..29].bytes() {
            counts[usize::from(byte)] += 1;
        }
    }
    let expected = 4_000.0 * 26.0 / 62.0;
    let used: Vec<u32> = counts.into_iter().filter(|count| *count > 0).collect();
    assert_eq!(used.len(), 62);
    let chi: f64 = used.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
    // 61 degrees of freedom: above 150 once in 10^9 runs; modulo bias would give about 400.
    assert!(chi < 150.0, "chi squared {chi}");
}

proptest! {
    #[test]
    fn one_wrong_character_is_told_from_an_unknown_key(at in 3usize..35, to in "[0-9A-Za-z]") {
        let mut text = Secret::generate().unwrap().expose().to_owned();
        prop_assume!(text[at..=at] != to);
        text.replace_range(at..=at, &to);
        prop_assert_eq!(Secret::parse(&text).unwrap_err(), KeyFault::Checksum);
    }

    #[test]
    fn what_is_not_shaped_like_a_key_is_malformed(text in "\\PC{0,60}") {
        prop_assume!(!(text.len() == 35 && text.starts_with("sk-")));
        prop_assert_eq!(Secret::parse(&text).unwrap_err(), KeyFault::Malformed);
    }
}

#[test]
fn a_hash_depends_on_the_secret_and_the_pepper() {
    let pepper = |text: &str| Pepper::given(&Credential::new(text));
    let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
    let hash = one.hash(&pepper("a pepper of some length"));
    assert_eq!(hash, one.hash(&pepper("a pepper of some length")));
    assert_ne!(hash, one.hash(&pepper("a pepper of same length")));
    assert_ne!(hash, other.hash(&pepper("a pepper of some length")));
}

#[tokio::test]
async fn the_first_key_is_made_once_however_many_start() {
    let place = Place::new();
    let openings = (0..4).map(|_| async { place.open().await.first_key().await.unwrap() });
    let made = futures_util::future::join_all(openings).await;
    let made: Vec<_> = made.into_iter().flatten().collect();
    assert_eq!(made.len(), 1);
    let (key, secret) = &made[0];
    assert_eq!((key.org.as_str(), key.name.as_str(), key.plan.as_str()), ("default", "first", "default"));
    let store = place.open().await;
    let found = store.find_by_hash(&secret.hash(store.pepper())).await.unwrap().unwrap();
    assert_eq!(found.key.id, key.id);
}

#[tokio::test]
async fn a_key_keeps_what_was_decided_when_it_was_made() {
    let place = Place::new();
    let store = place.open().await;
    store.create_org("acme", "pro", Some(40)).await.unwrap();
    assert!(matches!(store.create_org("acme", "pro", None).await, Err(StoreError::OrgExists(_))));
    let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let new = NewKey {
        scopes: vec![Scope::Synthesize],
        voices: Some(vec!["narrator, the second".into()]),
        streams: Some(3),
        expires: Some(expires),
        ..NewKey::named("acme", "ci")
    };
    let (key, _) = store.create_key(&new).await.unwrap();
    assert_eq!(key, store.show_key(&key.id).await.unwrap());
    assert_eq!((key.plan.as_str(), key.org_streams, key.streams), ("pro", Some(40), Some(3)));
    assert_eq!(key.scopes, [Scope::Synthesize]);
    assert_eq!(key.voices.as_deref(), Some(&["narrator, the second".to_owned()][..]));
    assert_eq!(key.expires, Some(expires));
    assert!(matches!(store.create_key(&NewKey::named("nobody", "x")).await, Err(StoreError::UnknownOrg(_))));
    assert!(matches!(store.show_key("key_none").await, Err(StoreError::UnknownKey(_))));
    assert!(matches!(store.revoke_key("key_none").await, Err(StoreError::UnknownKey(_))));
    assert_eq!(store.list_keys(Some("other")).await.unwrap(), []);
    assert_eq!(store.list_keys(None).await.unwrap(), [key]);
}

#[tokio::test]
async fn use_is_added_up_and_survives_a_reopening() {
    let place = Place::new();
    let store = place.open().await;
    let (key, _) = store.first_key().await.unwrap().unwrap();
    let used = Usage { characters: 10, audio_ms: 700, streams: 1 };
    let record = |key: &str| UsageRecord { key: key.into(), used, at: SystemTime::now() };
    store.add_usage(&[record(&key.id), record("key_gone"), record(&key.id)]).await.unwrap();
    store.close().await;
    let store = place.open().await;
    let twice = Usage { characters: 20, audio_ms: 1_400, streams: 2 };
    assert_eq!(store.usage_of(&key.id).await.unwrap(), twice);
    assert_eq!(store.usage_of("key_gone").await.unwrap(), Usage::default());
    assert!(store.show_key(&key.id).await.unwrap().last_used.is_some());
}

#[tokio::test]
async fn use_that_cannot_be_written_is_kept_for_the_next_time() {
    let place = Place::new();
    let store = place.open().await;
    let (key, _) = store.first_key().await.unwrap().unwrap();
    let used = Usage { characters: 10, audio_ms: 700, streams: 1 };
    let ledger = Ledger::new(store.clone());
    ledger.note(&key.id, used);
    ledger.note(&key.id, used);
    ledger.write().await.unwrap();
    let twice = Usage { characters: 20, audio_ms: 1_400, streams: 2 };
    assert_eq!((store.usage_of(&key.id).await.unwrap(), ledger.noted(&key.id)), (twice, Usage::default()));
    store.close().await;
    ledger.note(&key.id, used);
    ledger.write().await.unwrap_err();
    assert_eq!((ledger.noted(&key.id), ledger.lost()), (used, 0));
}

#[tokio::test]
async fn no_file_of_the_store_holds_a_secret() {
    let place = Place::new();
    let store = place.open().await;
    let (_, first) = store.first_key().await.unwrap().unwrap();
    let (_, second) = store.create_key(&NewKey::named("default", "second")).await.unwrap();
    let mut files = 0;
    for file in std::fs::read_dir(place.folder.path()).unwrap() {
        let content = std::fs::read(file.unwrap().path()).unwrap();
        files += 1;
        for secret in [&first, &second] {
            let random = &secret.expose().as_bytes()[3..29];
            assert!(!content.windows(26).any(|window| window == random));
        }
    }
    assert!(files >= 2, "the database and its pepper");
}

#[tokio::test]
async fn the_files_of_the_store_are_their_owners_only() {
    let place = Place::new();
    let store = place.open().await;
    store.first_key().await.unwrap();
    for file in std::fs::read_dir(place.folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
    }
}

#[tokio::test]
async fn a_pepper_that_others_may_read_is_refused_with_the_way_to_mend_it() {
    let place = Place::new();
    place.open().await.close().await;
    let pepper = Pepper::path_beside(&place.path());
    std::fs::set_permissions(&pepper, PermissionsExt::from_mode(0o640)).unwrap();
    let error = Store::open(&place.path(), None).await.unwrap_err().to_string();
    assert!(
        error.contains("mode 0640") && error.contains(&format!("chmod 600 {}", pepper.display())),
        "{error}"
    );
}

#[tokio::test]
async fn a_store_without_its_own_pepper_is_refused() {
    let place = Place::new();
    place.open().await.close().await;
    let other = Credential::new("another pepper of some length");
    assert!(matches!(Store::open(&place.path(), Some(&other)).await, Err(StoreError::PepperWrong { .. })));
    std::fs::remove_file(Pepper::path_beside(&place.path())).unwrap();
    assert!(matches!(Store::open(&place.path(), None).await, Err(StoreError::PepperGone { .. })));
}

#[tokio::test]
async fn a_store_that_cannot_be_used_says_why() {
    let place = Place::new();
    let nowhere = place.folder.path().join("no/such/folder/voxrelay.db");
    assert!(matches!(Store::open(&nowhere, None).await, Err(StoreError::Unwritable { .. })));
    assert!(matches!(Store::open(place.folder.path(), None).await, Err(StoreError::Unwritable { .. })));
    let prose = place.folder.path().join("prose.db");
    std::fs::write(&prose, "It was a bright cold day in April. ".repeat(200)).unwrap();
    assert!(matches!(Store::open(&prose, None).await, Err(StoreError::NotADatabase { .. })));
    place.open().await.close().await;
    let db = sqlx::SqlitePool::connect(&format!("sqlite:{}", place.path().display())).await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET version = 9999").execute(&db).await.unwrap();
    db.close().await;
    assert!(matches!(Store::open(&place.path(), None).await, Err(StoreError::Newer { .. })));
}

#[tokio::test]
async fn a_good_key_is_let_in_with_the_limits_of_key_organisation_and_plan() {
    let place = Place::new();
    let store = place.open().await;
    let (_, plain) = store.first_key().await.unwrap().unwrap();
    store.create_org("acme", "no-such-plan", Some(40)).await.unwrap();
    let own = NewKey { streams: Some(3), scopes: vec![Scope::UsageRead], ..NewKey::named("acme", "own") };
    let (own, limited) = store.create_key(&own).await.unwrap();
    let auth = Authenticator::new(&Config::default(), store);
    let caller = check(&auth, plain.expose()).await.caller.unwrap();
    assert_eq!((caller.key_streams, caller.org_streams), (10, 10));
    let caller = check(&auth, limited.expose()).await.caller.unwrap();
    assert_eq!((caller.key_streams, caller.org_streams), (3, 40));
    assert_eq!(caller.key.as_deref(), Some(own.id.as_str()));
    assert!(caller.may(Scope::UsageRead).is_ok());
    assert_eq!(caller.may(Scope::Synthesize).unwrap_err().code, FaultCode::Forbidden);
}

#[tokio::test]
async fn every_bad_key_gets_the_same_answer_and_its_own_label() {
    let place = Place::new();
    let store = place.open().await;
    let (key, revoked) = store.first_key().await.unwrap().unwrap();
    store.revoke_key(&key.id).await.unwrap();
    let long_ago = NewKey { expires: Some(SystemTime::UNIX_EPOCH), ..NewKey::named("default", "old") };
    let (_, expired) = store.create_key(&long_ago).await.unwrap();
    let unknown = Secret::generate().unwrap();
    let mut typo = unknown.expose().to_owned();
    typo.replace_range(5..6, if &typo[5..6] == "a" { "b" } else { "a" });
    let auth = Authenticator::new(&Config::default(), store);
    let cases = [
        ("sk-short", AuthResult::Malformed),
        (typo.as_str(), AuthResult::Checksum),
        (unknown.expose(), AuthResult::Unknown),
        (revoked.expose(), AuthResult::Revoked),
        (expired.expose(), AuthResult::Expired),
    ];
    let mut faults = Vec::new();
    for (text, result) in cases {
        let checked = check(&auth, text).await;
        assert_eq!(checked.result, result);
        faults.push(checked.caller.unwrap_err());
    }
    assert_eq!(faults[0].code, FaultCode::InvalidCredentials);
    assert!(faults.iter().all(|fault| *fault == faults[0]), "{faults:?}");
    let none = auth.check(None, SOURCE).await;
    assert_eq!(none.caller.unwrap_err().code, FaultCode::MissingCredentials);
}

#[tokio::test]
async fn in_open_mode_everybody_is_let_in_without_a_key() {
    let place = Place::new();
    let mut config = Config::default();
    config.auth.mode = AuthMode::Open;
    let auth = Authenticator::new(&config, place.open().await);
    let caller = auth.check(None, SOURCE).await.caller.unwrap();
    assert_eq!((caller.key.as_ref(), &*caller.org), (None, "default"));
    assert!(check(&auth, "anything").await.caller.is_ok());
}

#[tokio::test]
async fn a_revoked_key_ends_its_live_callers_and_no_others() {
    let place = Place::new();
    let store = place.open().await;
    let (first, first_secret) = store.first_key().await.unwrap().unwrap();
    let (_, other_secret) = store.create_key(&NewKey::named("default", "other")).await.unwrap();
    let auth = Authenticator::new(&Config::default(), store);
    let one = check(&auth, first_secret.expose()).await.caller.unwrap();
    let other = check(&auth, other_secret.expose()).await.caller.unwrap();
    auth.follow().await.unwrap();
    assert!(!one.revoked.is_cancelled());

    // Another process has the store open too.
    place.open().await.revoke_key(&first.id).await.unwrap();
    auth.follow().await.unwrap();
    assert!(one.revoked.is_cancelled());
    assert!(!other.revoked.is_cancelled());
    assert_eq!(check(&auth, first_secret.expose()).await.result, AuthResult::Revoked);
    assert_eq!(check(&auth, other_secret.expose()).await.result, AuthResult::Ok);
}

#[tokio::test]
async fn an_expiring_key_ends_its_live_callers() {
    let place = Place::new();
    let store = place.open().await;
    let soon = SystemTime::now() + Duration::from_secs(2);
    let new = NewKey { expires: Some(soon), ..NewKey::named("default", "brief") };
    let (_, secret) = store.create_key(&new).await.unwrap();
    let auth = Arc::new(Authenticator::new(&Config::default(), store));
    let caller = check(&auth, secret.expose()).await.caller.unwrap();
    let drain = Drain::new();
    drain.spawn(auth.clone().watch(drain.clone(), |_| {}));
    caller.revoked.cancelled().await;
    assert!(SystemTime::now() >= soon);
    assert_eq!(check(&auth, secret.expose()).await.result, AuthResult::Expired);
    drop(caller);
    drain.begin();
    assert!(drain.wait(Duration::from_secs(10)).await, "the watch ends with the drain");
}

#[tokio::test]
async fn without_the_store_known_keys_go_on_and_nobody_else_gets_in() {
    let place = Place::new();
    let store = place.open().await;
    let (_, known) = store.first_key().await.unwrap().unwrap();
    let (_, never_seen) = store.create_key(&NewKey::named("default", "new")).await.unwrap();
    let auth = Authenticator::new(&Config::default(), store.clone());
    assert_eq!(check(&auth, known.expose()).await.result, AuthResult::Ok);
    store.close().await;
    assert_eq!(check(&auth, known.expose()).await.result, AuthResult::Ok);
    let refused = check(&auth, never_seen.expose()).await;
    assert_eq!(refused.result, AuthResult::Store);
    let fault = refused.caller.unwrap_err();
    assert_eq!((fault.code, fault.retry_after_ms), (FaultCode::Overloaded, Some(1_000)));
}

#[tokio::test]
async fn who_guesses_is_refused_and_a_good_key_elsewhere_is_not() {
    let place = Place::new();
    let store = place.open().await;
    let (_, good) = store.first_key().await.unwrap().unwrap();
    let auth = Authenticator::new(&Config::default(), store);
    for _ in 0..20 {
        let guess = Secret::generate().unwrap();
        assert_eq!(check(&auth, guess.expose()).await.result, AuthResult::Unknown);
    }
    let refused = check(&auth, good.expose()).await;
    assert_eq!(refused.result, AuthResult::Throttled);
    let fault = refused.caller.unwrap_err();
    assert_eq!(fault.code, FaultCode::RateLimited);
    assert!((1..=30_000).contains(&fault.retry_after_ms.unwrap()));
    assert_eq!(auth.throttled_sources(), 1);
    let elsewhere = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    assert_eq!(auth.check(Some(&Credential::new(good.expose())), elsewhere).await.result, AuthResult::Ok);
}

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

async fn check(auth: &Authenticator, key: &str) -> Checked {
    auth.check(Some(&Credential::new(key)), SOURCE).await
}

/// A folder with room for one store.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        Path::join(self.folder.path(), "voxrelay.db")
    }

    async fn open(&self) -> Store {
        Store::open(&self.path(), None).await.unwrap()
    }
}

fn base62(mut number: u32) -> String {
    let alphabet = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digits = Vec::new();
    for _ in 0..6 {
        digits.push(alphabet[(number % 62) as usize] as char);
        number /= 62;
    }
    digits.into_iter().rev().collect()
}
