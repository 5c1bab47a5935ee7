//! Measured kernels as lines of JSON: what models are trained on.
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, Write};

/// A kernel that was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The family of models that it is from, such as `resnet`.
    pub family: String,
    /// The task that it computes; only samples of one task are compared.
    pub task: String,
    /// See [`features::row`](super::features::row).
    pub features: Vec<f32>,
    /// Units: cycles; see [`analytic`](super::analytic).
    pub terms: Vec<f64>,
    /// Units: nanoseconds of a call.
    pub ns: f64,
}

/// A dataset and what of the file was left out.
#[derive(Clone, Debug, Default)]
pub struct Dataset {
    /// The samples, in the order of the lines.
    pub samples: Vec<Sample>,
    /// Lines that are no samples of this version, such as one that was not written to its end.
    pub skipped: usize,
}

impl Dataset {
    /// Reads lines.
    ///
    /// Errors: of the reader.
    pub fn read(reader: impl BufRead) -> io::Result<Dataset> {
        let mut dataset = Dataset::default();
        for line in reader.split(b'\n') {
            let line = line?;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            match serde_json::from_slice::<Sample>(&line) {
                Ok(sample) if sample.is_whole() => dataset.samples.push(sample),
                _ => dataset.skipped += 1,
            }
        }
        Ok(dataset)
    }
}

impl Sample {
    /// Whether it is a measurement with the features and terms of this version.
    fn is_whole(&self) -> bool {
        self.features.len() == super::features::ROW
            && self.terms.len() == super::analytic::TERMS
            && self.features.iter().all(|x| x.is_finite())
            && self.terms.iter().all(|x| x.is_finite() && *x >= 0.0)
            && self.ns.is_finite()
            && self.ns > 0.0
    }

    /// Writes a line.
    ///
    /// Errors: of the writer.
    pub fn write(&self, writer: &mut impl Write) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        writer.write_all(&line)
    }
}
