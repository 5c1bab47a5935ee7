//! Trains the weights of the ranker that are shipped, and prints how well they order what they did
//! not see.
//!
//! `cargo xtask train-cost` runs this: `train_cost [--dataset FILE] [--weights FILE] FAMILY=RECORDS...`
//!
//! Each `RECORDS` is a database that `tensmith tune` wrote on this machine for models of the family.
//! The samples are added to those of the dataset, which is a file of JSON lines, and written back to
//! it; the weights are trained on all of them.
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use tensmith_autotune::cost::{Dataset, collect, train};
use tensmith_autotune::records::Database;

fn main() -> Result<()> {
    let (mut dataset, mut weights, mut records) = (None, None, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut file = || {
            args.next()
                .map(PathBuf::from)
                .with_context(|| format!("{arg} FILE"))
        };
        match &arg[..] {
            "--dataset" => dataset = Some(file()?),
            "--weights" => weights = Some(file()?),
            _ => match arg.split_once('=') {
                Some((family, path)) => records.push((family.to_string(), PathBuf::from(path))),
                None => bail!("expected FAMILY=RECORDS, found `{arg}`"),
            },
        }
    }
    let mut samples = match dataset.as_deref().filter(|path| path.exists()) {
        Some(path) => read(path)?,
        None => Dataset::default(),
    };
    for (family, path) in records {
        let database =
            Database::open_to_read(&path)?.with_context(|| path.display().to_string())?;
        let found = collect(&database, &family)?;
        eprintln!("{family}: {} samples in {}", found.len(), path.display());
        samples.samples.extend(found);
    }
    eprintln!(
        "{} samples, {} lines left out",
        samples.samples.len(),
        samples.skipped
    );
    println!("{}", train::evaluate(&samples.samples, &train::options()));
    if let Some(path) = dataset {
        let mut file = BufWriter::new(File::create(path)?);
        samples
            .samples
            .iter()
            .try_for_each(|s| s.write(&mut file))?;
        file.flush()?;
    }
    if let Some(path) = weights {
        std::fs::write(
            path,
            train::train(&samples.samples, &train::options()).to_string(),
        )?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Dataset> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(Dataset::read(BufReader::new(file))?)
}
