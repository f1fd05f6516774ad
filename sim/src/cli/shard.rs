//! A part of a campaign, for one machine of many, and the file in which its runs wait for `merge`.
//!
//! Invariant: each run of a campaign belongs to exactly one shard, whatever the number of shards. A line of the file is written when its
//! run is done, so that an interrupted shard keeps what it has.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use seedmq_reports::RunRecord;
use serde::{Deserialize, Serialize};

/// The file, in the folder of the report.
const FILE: &str = "runs.jsonl";
/// The version of that file.
const VERSION: u32 = 1;

/// Part `index` of `of`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shard {
    /// Which.
    pub index: u64,
    /// Of how many.
    pub of: u64,
}

impl Shard {
    /// The whole campaign.
    pub const WHOLE: Shard = Shard { index: 0, of: 1 };

    /// Whether it has this run: `seed` of the `row`-th scenario. Rows are staggered, so that each shard has a share of each scenario.
    pub fn has(self, row: u64, seed: u64) -> bool {
        (seed % self.of + row % self.of) % self.of == self.index
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// Reads `I/N`.
pub fn parse(text: &str) -> Result<Shard, String> {
    let expected = || format!("expected I/N with I from 0 and less than N, found \"{text}\"");
    let (index, of) = text.split_once('/').ok_or_else(expected)?;
    let shard = Shard { index: index.parse().map_err(|_| expected())?, of: of.parse().map_err(|_| expected())? };
    if shard.index < shard.of { Ok(shard) } else { Err(expected()) }
}

/// What a campaign is, and which part of it this is: the first line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// Version of the file.
    pub runs: u32,
    /// The part.
    pub shard: Shard,
    /// The program that ran it: two builds do not run the same campaign.
    pub program: String,
    /// The scenarios, with what they protect.
    pub scenarios: Vec<(String, String)>,
    /// Seeds of each scenario, first and end, if there is an end.
    pub seeds: (u64, Option<u64>),
    /// Known bugs that are switched on.
    pub plants: Vec<String>,
    /// Runs of this part, if they are counted.
    pub planned: Option<u64>,
}

impl Header {
    /// A header of this version.
    pub fn new(shard: Shard, scenarios: Vec<(String, String)>) -> Header {
        let program = format!("{} {}", env!("CARGO_PKG_VERSION"), build());
        Header { runs: VERSION, shard, program, scenarios, seeds: (0, None), plants: Vec::new(), planned: None }
    }
    /// The campaign without the part.
    pub fn campaign(&self) -> Header {
        Header { shard: Shard::WHOLE, planned: None, ..self.clone() }
    }
}

/// What tells two builds of this program apart.
fn build() -> String {
    let mut hasher = blake3::Hasher::new();
    // The bytes of a program that cannot be read tell nothing apart.
    drop(std::env::current_exe().and_then(File::open).and_then(|file| hasher.update_reader(file).map(drop)));
    hasher.finalize().to_hex()[..16].to_owned()
}

/// A run that is done: its record, and the kinds of faults that its tape had planned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Done {
    /// What it left behind.
    pub record: RunRecord,
    /// The kinds of faults that its tape had planned.
    pub planned: Vec<String>,
    /// Its last run in real time, milliseconds since the campaign began.
    pub at_ms: u64,
}

/// The file while it is written.
#[derive(Debug)]
pub struct Runs {
    path: PathBuf,
    file: File,
}

impl Runs {
    /// Begins the file in a folder; an older one is replaced.
    pub fn begin(folder: &Path, header: &Header) -> Result<Runs, String> {
        let path = folder.join(FILE);
        let file = fs::create_dir_all(folder).and_then(|()| File::create(&path));
        let mut runs = Runs { file: file.map_err(|e| format!("{}: {e}", path.display()))?, path };
        runs.line(header)?;
        Ok(runs)
    }
    /// Adds a run.
    pub fn add(&mut self, done: &Done) -> Result<(), String> {
        self.line(done)
    }
    fn line(&mut self, value: &impl Serialize) -> Result<(), String> {
        let text = serde_json::to_string(value).expect("records have only string keys") + "\n";
        self.file.write_all(text.as_bytes()).map_err(|e| format!("{}: {e}", self.path.display()))
    }
}

/// Reads the file in a folder, run by run. A last line that is cut off ends it: the shard died there.
pub fn read(folder: &Path, mut each: impl FnMut(Done)) -> Result<Header, String> {
    let path = folder.join(FILE);
    let bad = |line: usize, why: String| format!("{}:{line}: {why}", path.display());
    let file = File::open(&path)
        .map_err(|e| format!("{}: {e}; the folder of the report of a `sim run` is expected", path.display()))?;
    let mut lines = BufReader::new(file).lines().enumerate().map(|(at, line)| (at + 1, line)).peekable();
    let (_, first) = lines.next().ok_or_else(|| bad(1, "a header is expected".into()))?;
    let first = first.map_err(|e| bad(1, e.to_string()))?;
    let header: Header = serde_json::from_str(&first).map_err(|e| bad(1, format!("a header is expected: {e}")))?;
    if header.runs != VERSION {
        return Err(bad(1, format!("version {VERSION} is expected, found {}", header.runs)));
    }
    while let Some((at, line)) = lines.next() {
        let line = line.map_err(|e| bad(at, e.to_string()))?;
        match serde_json::from_str::<Done>(&line) {
            Ok(done) => each(done),
            Err(e) if e.is_eof() && lines.peek().is_none() => break,
            Err(e) => return Err(bad(at, format!("the record of a run is expected: {e}"))),
        }
    }
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_is_in_one_shard_and_shards_are_even() {
        for of in [1, 2, 3, 7, 18] {
            let mut sizes = vec![0; of as usize];
            for row in 0..18 {
                for seed in [0, 1, 2, 39, u64::MAX].into_iter().chain(100..200) {
                    let mine: Vec<u64> = (0..of).filter(|index| Shard { index: *index, of }.has(row, seed)).collect();
                    assert_eq!(mine.len(), 1, "row {row}, seed {seed}, of {of}");
                    sizes[mine[0] as usize] += 1;
                }
            }
            let (least, most) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
            assert!(most - least <= 40, "{sizes:?}");
        }
    }

    #[test]
    fn shards_are_counted_from_nought() {
        assert_eq!(parse("3/64"), Ok(Shard { index: 3, of: 64 }));
        for bad in ["64/64", "1", "1/0", "0/0", "-1/3", "a/b", ""] {
            assert!(parse(bad).is_err_and(|why| why.contains("found")), "{bad}");
        }
    }

    #[test]
    fn what_was_done_before_the_end_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let header = Header::new(Shard { index: 1, of: 2 }, vec![("a".into(), "About a.".into())]);
        let mut runs = Runs::begin(folder.path(), &header).unwrap();
        for seed in 0..3 {
            let record = RunRecord { scenario: "a".into(), seed, ..RunRecord::default() };
            runs.add(&Done { record, planned: vec!["kill".into()], at_ms: seed }).unwrap();
        }
        let path = folder.path().join(FILE);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() - 20]).unwrap();
        let mut seeds = Vec::new();
        assert_eq!(read(folder.path(), |done| seeds.push(done.record.seed)), Ok(header));
        assert_eq!(seeds, [0, 1]);
        fs::write(&path, text.replacen("\"seed\":1", "\"seed\":one", 1)).unwrap();
        let why = read(folder.path(), |_| {}).unwrap_err();
        assert!(why.contains("runs.jsonl:3: the record of a run is expected"), "{why}");
        assert!(read(&folder.path().join("none"), |_| {}).unwrap_err().contains("report of a `sim run` is expected"));
    }
}
