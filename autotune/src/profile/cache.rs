//! The file that keeps a profile. Whatever is wrong with it costs a measurement, never more.
use super::{Identity, Profile, Progress};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use tensmith_runtime::atomic::write_atomic;

/// Units: bytes of a file, at most; profiles have some thousands.
const MAX_BYTES: u64 = 1 << 20;

/// The profile in a file, if it is one of the machine `now`.
pub(super) fn load(
    path: Option<&Path>,
    now: &Identity,
    say: &mut dyn FnMut(Progress<'_>),
) -> Option<Profile> {
    let path = path?;
    let text = match read(path) {
        Ok(text) => text?,
        Err(e) => {
            say(Progress::Note(&format!(
                "cannot read {}: {e}",
                path.display()
            )));
            return None;
        }
    };
    let unusable = match parse(&text, now) {
        Ok(profile) => return Some(profile),
        Err(reason) => reason,
    };
    say(Progress::Note(&format!(
        "measuring the machine again, since the profile in {} cannot be used: {unusable}",
        path.display()
    )));
    None
}

fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    // Whoever opens a pipe waits for its writer.
    let file = match std::fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Ok(found) if !found.is_file() => return Err(std::io::Error::other("it is no file")),
        found => found.and_then(|_| File::open(path))?,
    };
    let mut text = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    Ok(Some(text))
}

/// Errors: why it cannot be used.
fn parse(text: &[u8], now: &Identity) -> Result<Profile, String> {
    if text.len() as u64 > MAX_BYTES {
        return Err(format!("it has more than {MAX_BYTES} bytes"));
    }
    let value: serde_json::Value =
        serde_json::from_slice(text).map_err(|e| format!("it is damaged: {e}"))?;
    // Other formats have other fields, but all have an identity with a format.
    let format = &value["identity"]["format"];
    if format.as_u64().is_some_and(|f| f != u64::from(now.format)) {
        return Err("its format is another one".into());
    }
    let profile: Profile =
        serde_json::from_value(value).map_err(|e| format!("it is damaged: {e}"))?;
    match profile.identity.change(now) {
        Some(change) => Err(change.into()),
        None if profile.is_sound() => Ok(profile),
        None => Err("it is damaged: a rate is no rate".into()),
    }
}

/// Keeps a profile, unless it was disturbed and a better one is kept; says so if it is not kept.
pub(super) fn store(path: Option<&Path>, profile: &Profile, say: &mut dyn FnMut(Progress<'_>)) {
    let Some(path) = path else {
        say(Progress::Note(
            "the profile is not kept: neither XDG_CACHE_HOME nor HOME names a folder",
        ));
        return;
    };
    if profile.is_disturbed()
        && let Some(kept) = load(Some(path), &profile.identity, &mut |_| {})
        && kept.fma_spread < profile.fma_spread
    {
        say(Progress::Note(&format!(
            "other programs disturbed the measurement: the profile in {} stays, which was less \
             disturbed",
            path.display()
        )));
        return;
    }
    if let Err(e) = write(path, profile) {
        say(Progress::Note(&format!(
            "cannot keep the profile in {}: {e}",
            path.display()
        )));
    }
}

fn write(path: &Path, profile: &Profile) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    write_atomic(path, |file| {
        serde_json::to_writer_pretty(&mut *file, profile)?;
        file.write_all(b"\n")
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::profile;
    use super::*;

    /// What a file with this text gives, and the notes about it.
    fn loaded(text: &str) -> (Option<Profile>, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        std::fs::write(&path, text).unwrap();
        let mut notes = String::new();
        let now = profile().identity;
        let found = load(Some(&path), &now, &mut |p| note(&mut notes, p));
        (found, notes)
    }

    fn note(notes: &mut String, progress: Progress<'_>) {
        if let Progress::Note(text) = progress {
            notes.push_str(text);
        }
    }

    fn text(change: impl Fn(&mut Profile)) -> String {
        let mut profile = profile();
        change(&mut profile);
        serde_json::to_string(&profile).unwrap()
    }

    #[test]
    fn what_is_kept_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/p.json");
        let mut notes = String::new();
        let now = profile().identity;
        assert_eq!(load(Some(&path), &now, &mut |p| note(&mut notes, p)), None);
        store(Some(&path), &profile(), &mut |p| note(&mut notes, p));
        let found = load(Some(&path), &now, &mut |p| note(&mut notes, p));
        assert_eq!((found, &notes[..]), (Some(profile()), ""));
    }

    /// The spread of the profile that is kept after these were measured one after the other, and the
    /// notes.
    fn kept_of(spreads: &[f64]) -> (f64, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.json");
        let mut notes = String::new();
        for fma_spread in spreads {
            let measured = Profile {
                fma_spread: *fma_spread,
                ..profile()
            };
            store(Some(&path), &measured, &mut |p| note(&mut notes, p));
        }
        let now = profile().identity;
        let found = load(Some(&path), &now, &mut |p| note(&mut notes, p));
        (found.unwrap().fma_spread, notes)
    }

    #[test]
    fn a_disturbed_profile_replaces_none_that_is_better() {
        let (kept, notes) = kept_of(&[0.02, 0.8]);
        assert_eq!(kept, 0.02);
        assert!(notes.contains("less disturbed"), "{notes}");
        // What was disturbed gives way to anything that was less so.
        for (spreads, last) in [
            (&[0.8][..], 0.8),
            (&[0.8, 0.4], 0.4),
            (&[0.8, 0.02], 0.02),
            (&[0.02, 0.05], 0.05),
        ] {
            assert_eq!(kept_of(spreads), (last, String::new()));
        }
    }

    #[test]
    fn what_cannot_be_used_is_noted() {
        let cases = [
            (text(|p| p.identity.machine.push('x')), "another processor"),
            (text(|p| p.identity.cores += 1), "usable cores"),
            (text(|p| p.identity.quota = Some(1.5)), "usable cores"),
            (text(|p| p.identity.compiler.push('x')), "another version"),
            (text(|p| p.identity.format += 1), "format"),
            (r#"{"identity":{"format":99},"new":1}"#.into(), "format"),
            (text(|p| p.clock_hz = 0.0), "no rate"),
            (text(|p| p.memory.clear()), "no rate"),
            (text(|p| p.arithmetic[0].bits = 0), "no rate"),
            (
                text(|p| p.arithmetic[1].dots.as_mut().unwrap().ops_per_s = 0.0),
                "no rate",
            ),
            (text(|p| p.memory[0].one.latency_ns = -1.0), "no rate"),
            (" ".repeat(MAX_BYTES as usize + 1), "more than"),
        ];
        for (text, part) in cases {
            let (found, notes) = loaded(&text);
            assert!(found.is_none() && notes.contains(part), "{part}: {notes}");
        }
    }

    #[test]
    fn no_torn_file_is_a_profile() {
        let whole = text(|_| {});
        assert!(loaded(&whole).0.is_some());
        for end in 0..whole.len() {
            let (found, notes) = loaded(&whole[..end]);
            assert!(found.is_none() && notes.contains("damaged"), "{end}");
        }
    }

    #[test]
    fn folders_that_refuse_are_noted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let mut notes = String::new();
        store(Some(&file.join("p.json")), &profile(), &mut |p| {
            note(&mut notes, p)
        });
        assert!(notes.contains("cannot keep"), "{notes}");
        notes.clear();
        store(None, &profile(), &mut |p| note(&mut notes, p));
        assert!(notes.contains("not kept"), "{notes}");
    }
}
