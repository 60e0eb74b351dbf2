//! The runtime arrangement, decided by bare servers: the same messages on one scheduler or the other,
//! on one core and on all of them.

use tokio::runtime::Runtime;

use crate::data::{self, Asked};
use crate::headline::{self, COLUMNS};
use crate::load::SHAPES;
use crate::process::Cores;
use crate::report::{Report, Table};
use crate::{Bench, Result, usher};

pub(crate) fn run(bench: &Bench, runtime: &Runtime, report: &mut Report) -> Result<()> {
    let directory = bench.directory("arrangement")?;
    let usher = usher::start(bench, &usher::sqlite(&directory), &[])?;
    let asked = runtime.block_on(async {
        let channel = data::connect(&usher.url()).await?;
        data::fill(&channel, 1, 4).await?;
        Asked::of(&channel, &directory).await
    })?;
    drop(usher);
    for (title, cores) in [("one core", None), ("all cores, shared with the load", Some(Cores::unpinned()))] {
        let servers = [
            ("a thread for each core + mimalloc", vec!["echo"]),
            ("tokio's multi-thread + mimalloc", vec!["echo", "--multi-thread"]),
            ("tokio's multi-thread, glibc's malloc", vec![]),
        ];
        let cores = cores.as_ref().unwrap_or(&bench.cores);
        let mut started = Vec::new();
        for (name, arguments) in &servers {
            started.push((*name, headline::bare_on(bench, cores, &asked, arguments)?, asked.check.clone()));
        }
        let title = format!("Runtime arrangement of a bare server: {title}");
        let mut table = Table::new(&title, &COLUMNS);
        for shape in SHAPES {
            let samples = headline::rounds(bench, &started, shape)?;
            for (name, sample) in &samples {
                report.measured(&title, &shape.name(), name, sample);
                table.row(headline::row(shape, name, sample, samples[0].1.cpu_us));
            }
        }
        report.table(table);
    }
    Ok(())
}
