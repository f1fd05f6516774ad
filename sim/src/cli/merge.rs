//! `merge`: the shards of one campaign, each run on a machine of its own, as if they had been run here.
//!
//! Invariant: it is green only when every shard is there, complete, of the same campaign and of the same program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use seedmq_reports::RunRecord;

use super::collect::{Collector, Outputs};
use super::shard::{self, Header, Shard};
use super::{Exit, refuse};

#[derive(Clone, Debug, Args)]
pub struct MergeArgs {
    /// The report folders of the shards.
    #[arg(required = true)]
    shards: Vec<PathBuf>,
    /// Where the report goes, with the tapes of what failed.
    #[arg(long, default_value = "target/sim-report")]
    report: PathBuf,
    /// Write the list of run records here.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a JUnit file here.
    #[arg(long)]
    junit: Option<PathBuf>,
}

/// The command.
pub fn merge(args: &MergeArgs) -> Exit {
    match collect(&args.shards, &args.report) {
        Ok(collector) => collector.report(&Outputs {
            report: &args.report,
            json: args.json.as_deref(),
            junit: args.junit.as_deref(),
        }),
        Err(why) => refuse(why),
    }
}

/// Reads all shards; what is missing is held against the campaign.
fn collect(folders: &[PathBuf], report: &Path) -> Result<Collector, String> {
    let mut collector = Collector::new();
    let mut first: Option<(Header, &PathBuf)> = None;
    let mut seen: BTreeMap<Shard, &PathBuf> = BTreeMap::new();
    for folder in folders {
        let (mut count, mut failed) = (0, None);
        let header = shard::read(folder, |mut done| {
            count += 1;
            failed = failed.take().or(bring(folder, report, &mut done.record).err());
            collector.add(done);
        })?;
        if let Some(why) = failed {
            return Err(why);
        }
        let (campaign, other) = first.get_or_insert_with(|| (header.clone(), folder));
        if campaign.campaign() != header.campaign() || campaign.shard.of != header.shard.of {
            let what = "shards of one campaign by one program are expected";
            return Err(format!(
                "{} and {} differ: {what}; {}",
                other.display(),
                folder.display(),
                differs(campaign, &header)
            ));
        }
        if let Some(other) = seen.insert(header.shard, folder) {
            return Err(format!("{} and {} are the same shard {}", other.display(), folder.display(), header.shard));
        }
        if let Some(planned) = header.planned.filter(|planned| count < *planned) {
            collector.complain(format!(
                "shard {} ended after {count} of {planned} runs ({})",
                header.shard,
                folder.display()
            ));
        }
    }
    let (header, _) = first.ok_or("report folders of shards are expected")?;
    let of = header.shard.of;
    for index in (0..of).filter(|index| !seen.contains_key(&Shard { index: *index, of })) {
        collector.complain(format!("shard {} is missing", Shard { index, of }));
    }
    collector.name(header.scenarios);
    collector.complete(false);
    Ok(collector)
}

/// In what two headers differ, for people.
fn differs(a: &Header, b: &Header) -> String {
    let parts = [
        ("program", a.program.clone(), b.program.clone()),
        ("shards", a.shard.of.to_string(), b.shard.of.to_string()),
        ("seeds", format!("{:?}", a.seeds), format!("{:?}", b.seeds)),
        ("plants", a.plants.join(" "), b.plants.join(" ")),
    ];
    let found = parts.into_iter().find(|(_, a, b)| a != b);
    found.map_or("their scenarios differ".into(), |(what, a, b)| format!("{what}: {a} and {b}"))
}

/// Copies the tape of a failed run, with its history, to the report.
fn bring(folder: &Path, report: &Path, record: &mut RunRecord) -> Result<(), String> {
    let Some(name) = record.tape.as_ref().and_then(|tape| Path::new(tape).file_name()) else { return Ok(()) };
    let (from, to) = (folder.join("tapes").join(name), report.join("tapes").join(name));
    // The tape of a kept failure stays where it is kept.
    if !from.is_file() {
        return Ok(());
    }
    record.tape = Some(to.display().to_string());
    if from == to {
        return Ok(());
    }
    fs::create_dir_all(report.join("tapes")).map_err(|e| format!("{}: {e}", report.display()))?;
    for extension in ["tape", "history"] {
        let (from, to) = (from.with_extension(extension), to.with_extension(extension));
        if from.is_file() {
            fs::copy(&from, &to).map_err(|e| format!("{}: {e}", to.display()))?;
        }
    }
    Ok(())
}
