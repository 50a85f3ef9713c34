//! The log as a whole: threads, files, rotations, disks that are full and readers that do not read.

use super::shard::BOUND;
use super::*;
use crate::config::template_pieces;
use std::fs;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

fn numbered() -> Format {
    Format::Template(template_pieces("{client} {bytes_sent}").0)
}

fn started(path: impl Into<PathBuf>) -> AccessLog {
    let log = AccessLog::open(Destination::File(path.into()), numbered()).unwrap();
    log.start().unwrap();
    log
}

fn write(log: &AccessLog, client: &str, number: u64) {
    log.write(&Record { client, bytes_sent: number, ..sample::record() });
}

/// Waits until the state is as wished, and says what it was when it never came to be.
fn eventually<S: std::fmt::Debug>(state: impl Fn() -> S, wished: impl Fn(&S) -> bool) -> S {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let now = state();
        if wished(&now) {
            return now;
        }
        assert!(Instant::now() < deadline, "still {now:?}");
        thread::yield_now();
    }
}

fn eventually_reads(path: &Path, text: &str) {
    eventually(|| fs::read_to_string(path).unwrap(), |now| now == text);
}

#[test]
fn a_record_reaches_the_file_without_being_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = started(&path);
    write(&log, "192.0.2.7", 1);
    eventually_reads(&path, "192.0.2.7 1\n");
}

#[test]
fn a_file_is_continued_and_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    fs::write(&path, "before\n").unwrap();
    let log = started(&path);
    write(&log, "a", 1);
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap(), "before\na 1\n");
}

#[test]
fn a_path_that_cannot_be_opened_is_an_error_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent").join("access.log");
    let error = AccessLog::open(Destination::File(path), Format::Json).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn dropping_the_log_writes_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = started(&path);
    for number in 0..100 {
        write(&log, "a", number);
    }
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 100);
}

#[test]
fn dropping_a_log_that_was_never_started_writes_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::open(Destination::File(path.clone()), numbered()).unwrap();
    write(&log, "a", 1);
    drop(log);
    assert_eq!(fs::read_to_string(&path).unwrap(), "a 1\n");
}

#[test]
fn a_record_after_closing_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = started(&path);
    write(&log, "a", 1);
    log.close();
    write(&log, "a", 2);
    thread::scope(|scope| scope.spawn(|| write(&log, "b", 3)).join().unwrap());
    log.close();
    assert_eq!(log.dropped(), 2);
    assert_eq!(fs::read_to_string(&path).unwrap(), "a 1\n");
}

#[test]
fn two_threads_lose_nothing_and_keep_their_own_order() {
    const EACH: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = started(&path);
    thread::scope(|scope| {
        for client in ["a", "b"] {
            let log = &log;
            scope.spawn(move || {
                for number in 0..EACH {
                    write(log, client, number);
                }
            });
        }
    });
    log.close();
    assert_eq!(log.dropped(), 0);
    let text = fs::read_to_string(&path).unwrap();
    for client in ["a ", "b "] {
        let numbers = text.lines().filter_map(|line| line.strip_prefix(client));
        assert!(numbers.eq((0..EACH).map(|number| number.to_string())), "{client}");
    }
    assert_eq!(text.lines().count() as u64, 2 * EACH);
}

#[test]
fn two_logs_on_one_thread_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let paths = ["old.log", "new.log"].map(|name| folder.path().join(name));
    let logs = [started(&paths[0]), started(&paths[1])];
    for number in 0..3 {
        write(&logs[0], "old", number);
        write(&logs[1], "new", number);
    }
    drop(logs);
    assert_eq!(fs::read_to_string(&paths[0]).unwrap(), "old 0\nold 1\nold 2\n");
    assert_eq!(fs::read_to_string(&paths[1]).unwrap(), "new 0\nnew 1\nnew 2\n");
}

#[test]
fn after_a_rotation_lines_go_to_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let rotated = folder.path().join("access.log.1");
    let log = started(&path);
    write(&log, "a", 1);
    eventually_reads(&path, "a 1\n");

    fs::rename(&path, &rotated).unwrap();
    write(&log, "a", 2);
    eventually_reads(&rotated, "a 1\na 2\n");
    log.reopen().unwrap();
    write(&log, "a", 3);
    eventually_reads(&path, "a 3\n");
    drop(log);
    assert_eq!(fs::read_to_string(&rotated).unwrap(), "a 1\na 2\n");
}

#[test]
fn when_the_path_cannot_be_reopened_the_old_file_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("logs");
    fs::create_dir(&inside).unwrap();
    let log = started(inside.join("access.log"));
    let moved = folder.path().join("moved");
    fs::rename(&inside, &moved).unwrap();
    assert_eq!(log.reopen().unwrap_err().kind(), io::ErrorKind::NotFound);
    write(&log, "a", 1);
    drop(log);
    assert_eq!(fs::read_to_string(moved.join("access.log")).unwrap(), "a 1\n");
}

#[test]
fn a_full_disk_costs_the_records_and_nothing_else() {
    let log = started("/dev/full");
    for number in 0..10 {
        write(&log, "a", number);
    }
    eventually(|| log.dropped(), |dropped| *dropped == 10);
    write(&log, "a", 10);
    log.close();
    assert_eq!(log.dropped(), 11);
}

#[test]
fn a_full_disk_that_is_emptied_gets_the_next_records() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let log = started(&path);
    write(&log, "a", 1);
    eventually(|| log.dropped(), |dropped| *dropped == 1);
    fs::remove_file(&path).unwrap();
    log.reopen().unwrap();
    write(&log, "a", 2);
    eventually_reads(&path, "a 2\n");
    assert_eq!(log.dropped(), 1);
}

/// A pipe that nobody reads from yet, and a log before it.
fn before_a_pipe(blocking: bool) -> (io::PipeReader, AccessLog) {
    let (reader, writer) = io::pipe().unwrap();
    let log = if blocking {
        let output = Output::file(File::from(OwnedFd::from(writer)));
        AccessLog::over(output, Destination::Stdout, numbered())
    } else {
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        AccessLog::open(Destination::File(path.into()), numbered()).unwrap()
    };
    log.start().unwrap();
    (reader, log)
}

/// Writes far more than a pipe and a shard can hold. Returns how many records that were.
fn flood(log: &AccessLog) -> u64 {
    let client = "x".repeat(1000);
    let records = 5 * BOUND as u64 / 1000;
    for number in 0..records {
        write(log, &client, number);
    }
    records
}

#[test]
fn a_reader_that_stalls_costs_records_beyond_the_bound_and_no_time() {
    for blocking in [true, false] {
        let (mut reader, log) = before_a_pipe(blocking);
        let began = Instant::now();
        let records = flood(&log);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        let dropped = log.dropped();
        assert!(dropped > records / 5, "of {records} only {dropped} were dropped");

        let reading = thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        log.close();
        assert_eq!(log.dropped(), dropped, "what was kept is written once the reader reads");
        drop(log);
        let text = reading.join().unwrap();
        assert!(text.len() < 3 * BOUND, "two buffers and a pipe hold the kept: {}", text.len());
        assert_eq!(text.lines().count() as u64, records - dropped);
        assert!(text.lines().all(|line| line.starts_with("xxx") && line.len() > 1000));
    }
}

#[test]
fn a_reader_that_never_reads_does_not_hold_up_a_stop() {
    for blocking in [true, false] {
        let (_reader, log) = before_a_pipe(blocking);
        flood(&log);
        let began = Instant::now();
        log.close();
        let took = began.elapsed();
        assert!(took < CLOSE_WITHIN + Duration::from_secs(1), "{took:?}");
        assert_eq!(log.shared.shards.load().1, 0, "what nobody will write is not kept");
        let before = log.dropped();
        write(&log, "a", 1);
        eventually(|| log.dropped(), |dropped| *dropped > before);
    }
}

#[test]
fn a_thread_that_ended_leaves_its_lines_but_no_shard() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = started(&path);
    for number in 0..50 {
        thread::scope(|scope| scope.spawn(|| write(&log, "a", number)).join().unwrap());
    }
    eventually(|| fs::read_to_string(&path).unwrap().lines().count(), |lines| *lines == 50);
    write(&log, "b", 1);
    eventually(|| log.shared.shards.load(), |(shards, _)| *shards == 1);
}

/// `cargo test --release -- --ignored --nocapture nanoseconds`
#[test]
#[ignore = "a measurement, for an idle machine and a release build"]
fn nanoseconds_per_record() {
    const RECORDS: u32 = 1000; // less than a shard holds, so that none is dropped, which would be cheap
    let record = Record {
        user_agent: Some(b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0"),
        referer: Some(b"https://shop.example.com/"),
        ..sample::record()
    };
    let hostile = Record { user_agent: Some("\u{1b}[31m\"é\"\n".as_bytes()), ..record };
    let template = template_pieces("{time} {client} \"{method} {path}\" {status} {duration_ms}").0;
    for (name, format, record) in [
        ("json", Format::Json, &record),
        ("json, hostile", Format::Json, &hostile),
        ("combined", Format::Combined, &record),
        ("template", Format::Template(template), &record),
    ] {
        let log = AccessLog::open(Destination::File("/dev/null".into()), format).unwrap();
        log.start().unwrap();
        let mut rounds = [0; 40].map(|_: u8| {
            eventually(|| log.shared.shards.load(), |(_, bytes)| *bytes == 0);
            let began = Instant::now();
            for _ in 0..RECORDS {
                log.write(std::hint::black_box(record));
            }
            began.elapsed() / RECORDS
        });
        rounds.sort_unstable();
        println!("{name}: least {:?}, median {:?} per record", rounds[0], rounds[20]);
        assert_eq!(log.dropped(), 0);
    }
}
