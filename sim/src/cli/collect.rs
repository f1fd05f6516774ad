//! What a campaign comes to: the runs that are done, and at the end one table, one report and one verdict.
//!
//! Invariant: the verdict follows from the runs alone, whether they were made here or read from the files of shards.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use seedmq_reports::{Campaign, RunRecord};
use seedmq_sim::marks;

use super::run::BUGS;
use super::shard::{Done, Header, Runs};
use super::{Exit, say};

/// In so many tapes a fault must be planned before its absence is held against the scenario.
const PLANNED_ENOUGH: u64 = 5;

/// Where the results go.
#[derive(Debug)]
pub struct Outputs<'a> {
    /// The folder of the report.
    pub report: &'a Path,
    /// The list of records.
    pub json: Option<&'a Path>,
    /// A JUnit file.
    pub junit: Option<&'a Path>,
}

/// Everything that a campaign collects while it runs.
pub struct Collector {
    campaign: Campaign,
    /// How many tapes had planned a kind of fault, or an action at a kind of event, by scenario.
    planned: BTreeMap<(String, String), u64>,
    unreached: BTreeSet<String>,
    runs: Option<Runs>,
    begun: Instant,
}

impl Collector {
    /// Nothing yet.
    pub fn new() -> Collector {
        let campaign = Campaign::default();
        let (planned, unreached) = (BTreeMap::new(), marks::named_in_source("sometimes"));
        Collector { campaign, planned, unreached, runs: None, begun: Instant::now() }
    }

    /// Nothing yet, but every run will be kept in a file.
    pub fn begin(header: &Header, outputs: &Outputs<'_>) -> Result<Collector, String> {
        let runs = Some(Runs::begin(outputs.report, header)?);
        let mut collector = Collector { runs, ..Collector::new() };
        collector.name(header.scenarios.clone());
        Ok(collector)
    }

    /// Takes one run that was made here.
    pub fn take(&mut self, record: RunRecord, planned: BTreeSet<&'static str>) {
        let at_ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let done = Done { record, planned: planned.into_iter().map(String::from).collect(), at_ms };
        if let Some(Err(why)) = self.runs.as_mut().map(|runs| runs.add(&done)) {
            eprintln!("sim: {why}");
            self.complain(format!("the runs could not be kept: {why}"));
            self.runs = None;
        }
        self.add(done);
    }

    /// Adds a run, wherever it was made. Shards run side by side: the campaign took as long as the longest of them.
    pub fn add(&mut self, done: Done) {
        let Done { record, planned, at_ms } = done;
        for kind in planned {
            *self.planned.entry((record.scenario.clone(), kind)).or_default() += 1;
        }
        self.unreached.retain(|mark| !record.marks.contains_key(mark));
        self.campaign.wall_ms = self.campaign.wall_ms.max(at_ms);
        self.campaign.records.push(record);
    }

    /// The marks that no run reached so far.
    pub fn unreached(&self) -> &BTreeSet<String> {
        &self.unreached
    }

    /// Says which scenarios there are, with what they protect.
    pub fn name(&mut self, scenarios: Vec<(String, String)>) {
        self.campaign.scenarios = scenarios;
    }

    /// Holds something against the campaign as a whole.
    pub fn complain(&mut self, what: String) {
        self.campaign.complaints.push(what);
    }

    /// Completes the campaign: order, marks that were never reached, faults that never took effect.
    pub fn complete(&mut self, every_mark: bool) {
        let campaign = &mut self.campaign;
        let names: Vec<String> = campaign.scenarios.iter().map(|(name, _)| name.clone()).collect();
        let rank = |name: &str| names.iter().position(|other| other == name).unwrap_or(usize::MAX);
        campaign.records.sort_by_key(|r| (rank(&r.scenario), r.seed));
        if campaign.records.iter().any(|r| r.scenario == BUGS) {
            campaign.scenarios.push((BUGS.into(), "Failures whose cause was fixed: every tape stays green.".into()));
        }
        campaign.unreached = self.unreached.iter().cloned().collect();
        for ((scenario, kind), planned) in &self.planned {
            let mut records = campaign.records.iter().filter(|r| r.scenario == *scenario);
            if *planned >= PLANNED_ENOUGH
                && scenario != BUGS
                && !records.any(|r| r.faults.contains_key(kind) || r.fired.contains_key(kind))
            {
                campaign
                    .complaints
                    .push(format!("{scenario}: \"{kind}\" was planned in {planned} runs and never took effect"));
            }
        }
        if every_mark && !campaign.unreached.is_empty() {
            campaign.complaints.push(format!("{} marks were not reached within the time", campaign.unreached.len()));
        }
    }

    /// Writes every report and prints the table and the failures.
    pub fn report(&self, outputs: &Outputs<'_>) -> Exit {
        let campaign = &self.campaign;
        let page = outputs.report.join("index.html");
        say(&seedmq_reports::table(campaign));
        let mut texts = vec![(page.as_path(), seedmq_reports::html(campaign))];
        texts.extend(outputs.json.map(|path| (path, seedmq_reports::json(&campaign.records))));
        texts.extend(outputs.junit.map(|path| (path, seedmq_reports::junit(campaign))));
        let mut written = true;
        for (path, text) in texts {
            let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
            if let Err(error) = folder.and_then(|()| fs::write(path, text)) {
                eprintln!("sim: {}: {error}", path.display());
                written = false;
            }
        }
        say(&format!("report: {}\n", page.display()));
        match Exit::gravest(campaign.records.iter().map(|r| r.verdict)) {
            Exit::Green | Exit::WorkerLost if !campaign.complaints.is_empty() => Exit::Broken,
            Exit::Green if !written => Exit::Usage,
            exit => exit,
        }
    }
}
