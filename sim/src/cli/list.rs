//! `list`: what there is to run, to hunt and to reach.
//!
//! Invariant: a scenario file that does not parse is listed with its error, and the exit status says so.

use seedmq_sim::plants::PLANTS;
use seedmq_sim::{marks, scenario};

use super::{Exit, say, source};

/// The first sentence of a text.
fn sentence(text: &str) -> &str {
    text.split_inclusive(". ").next().unwrap_or(text).trim_end()
}

/// The command.
pub fn list() -> Exit {
    let mut exit = Exit::Green;
    say("scenarios\n");
    for file in scenario::files(&scenario::directory()) {
        match scenario::Scenario::load(&file) {
            Ok(scenario) => say(&format!("  {:<28} {}\n", scenario.name, sentence(&scenario.about))),
            Err(error) => {
                say(&format!("  {error}\n"));
                exit = Exit::Usage;
            }
        }
    }
    say("\ntapes of failures whose cause was fixed (`run bugs`)\n");
    for file in source::bugs() {
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        match source::read(&file) {
            Ok(tape) => say(&format!("  bugs/{name:<23} {}\n", sentence(&tape.header.about))),
            Err(error) => {
                say(&format!("  {error}\n"));
                exit = Exit::Usage;
            }
        }
    }
    say("\nplants (known bugs for `hunt`)\n");
    for plant in PLANTS {
        let oracles: Vec<&str> = plant.oracles.iter().map(|o| o.name()).collect();
        say(&format!("  {:<28} {}; found by {}\n", plant.name, plant.about, oracles.join(" or ")));
    }
    for (title, mark) in
        [("marks (rare states that a campaign should reach)", "sometimes"), ("sites of legal deviations", "buggify")]
    {
        say(&format!("\n{title}\n"));
        marks::named_in_source(mark).iter().for_each(|name| say(&format!("  {name}\n")));
    }
    exit
}
