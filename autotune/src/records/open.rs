//! Opening a database: settings of a connection, its format, and the way from older formats.
use super::error::{RecordError, Result};
use super::folder_of;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::path::Path;
use std::time::Duration;
use tensmith_runtime::Stopwatch;

/// What makes a database of format `k` one of format `k + 1`; the first begins with an empty file.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

/// Says in the head of a database that it holds records: `TSMR`.
const APPLICATION: i64 = 0x5453_4d52;

/// How long a process waits for others that write, at most: they take milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Some locks are refused without waiting; then this is the time between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Units: bytes of a value, at most: the longest task.
const MAX_VALUE_BYTES: i32 = 2 * super::rules::MAX_TASK_BYTES as i32;

/// Opens a database to read and write, and makes it and its folder where there is none.
pub(super) fn writable(path: &Path, patience: Duration) -> Result<Connection> {
    let folder = folder_of(path);
    std::fs::create_dir_all(folder).map_err(|e| RecordError::io("create", folder, e))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = connect(path, flags, patience)?;
    let at = (path, patience);
    again(at, || migrate(&mut db, path, &MIGRATIONS))?;
    again(at, || verify(&db, path))?;
    again(at, || {
        let set = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
        db.execute_batch(set).map_err(|e| RecordError::of(path, &e))
    })?;
    Ok(db)
}

/// Opens a database to read; `None` if there is none, or none yet.
pub(super) fn readable(path: &Path) -> Result<Option<Connection>> {
    match path.metadata() {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(RecordError::io("read", path, e)),
        // A process may have been stopped before it wrote a page.
        Ok(data) if data.is_file() && data.len() == 0 => return Ok(None),
        Ok(_) => {}
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = connect(path, flags, PATIENCE)?;
    let at = (path, PATIENCE);
    match again(at, || format_of(&db, path)) {
        Ok(0) => Ok(None),
        Ok(format) if format < newest(&MIGRATIONS) => writable(path, PATIENCE).map(Some),
        Ok(_) => again(at, || verify(&db, path)).map(|()| Some(db)),
        // In a folder that cannot be written, the files beside a database cannot be made; without
        // writers there is no need of them.
        Err(RecordError::Refused { .. }) if !has_log(path) => {
            let db = connect_still(path, flags)?;
            if format_of(&db, path)? == 0 {
                return Ok(None);
            }
            verify(&db, path).map(|()| Some(db))
        }
        Err(e) => Err(e),
    }
}

fn connect(path: &Path, flags: OpenFlags, patience: Duration) -> Result<Connection> {
    let db = Connection::open_with_flags(path, flags).map_err(|e| RecordError::of(path, &e))?;
    settings(db, path, patience)
}

/// Opens a database that nobody writes.
fn connect_still(path: &Path, flags: OpenFlags) -> Result<Connection> {
    let escaped: String = path.to_string_lossy().bytes().map(escape).collect();
    let uri = format!("file:{escaped}?immutable=1");
    let db = Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        .map_err(|e| RecordError::of(path, &e))?;
    settings(db, path, PATIENCE)
}

/// A byte of a path as a URI has it.
fn escape(byte: u8) -> String {
    match byte {
        b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02x}"),
    }
}

/// Whether changes are kept in a file beside the database.
fn has_log(path: &Path) -> bool {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    Path::new(&log).metadata().is_ok_and(|data| data.len() > 0)
}

/// What a foreign file says of itself is not trusted.
fn settings(db: Connection, path: &Path, patience: Duration) -> Result<Connection> {
    let set = "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;";
    db.busy_timeout(patience)
        .and_then(|()| db.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES))
        .and_then(|_| db.execute_batch(set))
        .map_err(|e| RecordError::of(path, &e))?;
    Ok(db)
}

fn newest(migrations: &[&str]) -> i64 {
    migrations.len() as i64
}

/// The format of a database; 0 for an empty one.
///
/// Errors: no database of records; one of a later version.
pub(super) fn format_of(db: &Connection, path: &Path) -> Result<i64> {
    let number = |sql: &str| -> Result<i64> {
        db.query_row(sql, [], |row| row.get(0))
            .map_err(|e| RecordError::of(path, &e))
    };
    // All of it as of one moment: another process may be making the database.
    let _moment = match db.is_autocommit() {
        true => Some(
            db.unchecked_transaction()
                .map_err(|e| RecordError::of(path, &e))?,
        ),
        false => None,
    };
    let format = number("PRAGMA user_version")?;
    let application = number("PRAGMA application_id")?;
    if application != APPLICATION {
        let empty = number("SELECT count(*) FROM sqlite_schema")? == 0;
        return match empty && application == 0 && format == 0 {
            true => Ok(0),
            false => Err(RecordError::Foreign {
                path: path.into(),
                reason: "it is a database of another program",
            }),
        };
    }
    let known = newest(&MIGRATIONS);
    match format {
        1.. if format <= known => Ok(format),
        1.. => Err(RecordError::Newer {
            path: path.into(),
            found: format,
            known,
        }),
        _ => Err(RecordError::damaged(path, format!("format {format}"))),
    }
}

/// Brings a database to the newest format. Processes that do it at once do it one after another.
fn migrate(db: &mut Connection, path: &Path, migrations: &[&str]) -> Result<()> {
    let sql = |e: rusqlite::Error| RecordError::of(path, &e);
    if format_of(db, path)? == newest(migrations) {
        return Ok(());
    }
    let change = Transaction::new(db, TransactionBehavior::Immediate).map_err(sql)?;
    let format = format_of(&change, path)?;
    for step in migrations.iter().skip(format as usize) {
        change.execute_batch(step).map_err(sql)?;
    }
    let heads = format!(
        "PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {};",
        newest(migrations)
    );
    change.execute_batch(&heads).map_err(sql)?;
    change.commit().map_err(sql)
}

/// Errors: tables, indices or triggers are others than those that this program makes, so that
/// reading could take forever, or writing do something else.
fn verify(db: &Connection, path: &Path) -> Result<()> {
    let sql = |e: rusqlite::Error| RecordError::of(path, &e);
    let expected = Connection::open_in_memory().map_err(sql)?;
    for step in MIGRATIONS {
        expected.execute_batch(step).map_err(sql)?;
    }
    let [found, expected] = [db, &expected].map(|db| statements(db).map_err(sql));
    let (found, expected) = (found?, expected?);
    let first = |sql: &String| sql.lines().next().unwrap_or("").to_string();
    let extra = found.iter().find(|s| !expected.contains(s));
    let missing = expected.iter().find(|s| !found.contains(s));
    match (extra, missing) {
        (None, None) => Ok(()),
        (Some(extra), _) => {
            let reason = format!("`{}` does not belong there", first(extra));
            Err(RecordError::damaged(path, reason))
        }
        (None, Some(missing)) => {
            let reason = format!("`{}` is missing", first(missing));
            Err(RecordError::damaged(path, reason))
        }
    }
}

/// What makes the tables of a database, apart from those of the engine.
fn statements(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let query = "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT GLOB 'sqlite_*'";
    let mut query = db.prepare(query)?;
    let rows = query.query_map([], |row| row.get(0))?;
    rows.collect()
}

/// Does something again while others keep the database locked.
pub(super) fn again<T>(
    (path, patience): (&Path, Duration),
    mut work: impl FnMut() -> Result<T>,
) -> Result<T> {
    let watch = Stopwatch::start();
    loop {
        match work() {
            Err(RecordError::Busy { .. }) => {}
            done => return done,
        }
        if watch.elapsed_ns() >= patience.as_nanos() as u64 {
            return Err(RecordError::Busy { path: path.into() });
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_may_make_a_database_at_once() {
        for _ in 0..50 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a");
            let together = std::sync::Barrier::new(4);
            std::thread::scope(|threads| {
                for _ in 0..4 {
                    threads.spawn(|| {
                        together.wait();
                        drop(writable(&path, PATIENCE).unwrap());
                    });
                }
            });
        }
    }

    #[test]
    fn formats_are_raised_step_by_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        drop(writable(&path, PATIENCE).unwrap());
        let mut db = Connection::open(&path).unwrap();
        // As a later version would do it.
        let steps = [MIGRATIONS[0], "ALTER TABLE keys ADD COLUMN note TEXT"];
        migrate(&mut db, &path, &steps).unwrap();
        db.execute("UPDATE keys SET note = 'x'", []).unwrap();
        drop(db);
        for opened in [writable(&path, PATIENCE).map(Some), readable(&path)] {
            let error = opened.unwrap_err();
            let newer = matches!(
                error,
                RecordError::Newer {
                    found: 2,
                    known: 1,
                    ..
                }
            );
            assert!(newer, "{error}");
        }
    }

    #[test]
    fn other_databases_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let foreign = folder.path().join("foreign");
        let db = Connection::open(&foreign).unwrap();
        db.execute_batch("CREATE TABLE t (a)").unwrap();
        drop(db);
        let text = folder.path().join("text");
        std::fs::write(&text, "no database at all\n".repeat(300)).unwrap();
        for opened in [writable(&foreign, PATIENCE).map(Some), readable(&foreign)] {
            assert!(matches!(opened, Err(RecordError::Foreign { .. })));
        }
        for opened in [writable(&text, PATIENCE).map(Some), readable(&text)] {
            assert!(matches!(opened, Err(RecordError::Damaged { .. })));
        }
        assert!(
            std::fs::read_to_string(&text)
                .unwrap()
                .starts_with("no database")
        );
        assert!(readable(folder.path()).is_err());
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/in/a folder/records");
        assert!(readable(&path).unwrap().is_none());
        assert!(!path.exists());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(readable(&path).unwrap().is_none());
        writable(&path, PATIENCE).unwrap();
        assert!(readable(&path).unwrap().is_some());
    }

    #[test]
    fn databases_that_nobody_writes_need_no_files_beside_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b?%#.sqlite3");
        drop(writable(&path, PATIENCE).unwrap());
        assert!(!has_log(&path));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
        let db = connect_still(&path, flags).unwrap();
        assert_eq!(format_of(&db, &path).unwrap(), 1);
    }
}
