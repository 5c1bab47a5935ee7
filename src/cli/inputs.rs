//! Inputs of a model from files, or made up.
use clap::Args;
use std::path::{Path, PathBuf};
use tensmith::convert::{bytes_of, describe, describe_type, element_type, to_ir};
use tensmith::files::{self, Named};
use tensmith::{ElementType, Error, Imported, Model, Options, Result, Tensor, TensorView};
use tensmith_ir::expr::Atom;
use tensmith_ir::graph::TensorType;

/// Where inputs come from.
#[derive(Args, Clone)]
pub struct InputArgs {
    /// Inputs by name: a .npz or .safetensors file, or a folder of ONNX test data
    #[arg(long, value_name = "FILE|DIR")]
    pub inputs: Option<PathBuf>,
    /// One input: NAME=@FILE.npy, NAME=random:0..1 or NAME=zeros
    #[arg(long = "input", value_name = "NAME=SPEC")]
    pub input: Vec<String>,
    /// The seed of random inputs
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// How to make an input up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fill {
    Zeros,
    Random(f64, f64),
}

/// Inputs that were given, and how to make others.
pub struct Given {
    /// Tensors by name.
    pub tensors: Named,
    fills: Vec<(String, Fill)>,
    seed: u64,
}

/// A model ready to run, with inputs in its order.
pub struct Prepared {
    /// The model as a graph.
    pub imported: Imported,
    /// The options, with what the inputs say.
    pub options: Options,
    /// Inputs in the model's order.
    pub inputs: Vec<(String, Tensor)>,
}

impl InputArgs {
    /// The inputs of a file or folder.
    pub fn of(path: PathBuf) -> Self {
        InputArgs {
            inputs: Some(path),
            input: Vec::new(),
            seed: 1,
        }
    }

    /// Reads all given inputs.
    pub fn read(&self, model: &Model) -> Result<Given> {
        let mut given = Given {
            tensors: Named::new(),
            fills: Vec::new(),
            seed: self.seed,
        };
        if let Some(path) = &self.inputs {
            given.tensors = read_inputs(path, model)?;
        }
        for text in &self.input {
            let Some((name, spec)) = text.rsplit_once('=').filter(|(n, _)| !n.is_empty()) else {
                return Err(usage(text));
            };
            match spec.strip_prefix('@') {
                Some(file) => {
                    let tensor = files::read_npy_file(Path::new(file))?;
                    given.tensors.insert(name.into(), tensor);
                }
                None => given
                    .fills
                    .push((name.into(), parse_fill(spec).ok_or_else(|| usage(text))?)),
            }
        }
        let names = model.input_names();
        let mut all = given
            .tensors
            .keys()
            .chain(given.fills.iter().map(|(n, _)| n));
        if let Some(name) = all.find(|n| !names.contains(n)) {
            return Err(Error::Input {
                input: name.clone(),
                found: "a name that the model does not have".into(),
                expected: format!("one of: {}", names.join(", ")),
            });
        }
        Ok(given)
    }
}

fn read_inputs(path: &Path, model: &Model) -> Result<Named> {
    if path.is_dir() {
        return Ok(files::read_data_set(path, model.loaded())?.inputs);
    }
    files::read_named(path)
}

fn usage(text: &str) -> Error {
    Error::Usage(format!(
        "--input {text}: expected NAME=@FILE.npy, NAME=random:0..1 or NAME=zeros"
    ))
}

fn parse_fill(spec: &str) -> Option<Fill> {
    if spec == "zeros" {
        return Some(Fill::Zeros);
    }
    let (low, high) = spec.strip_prefix("random:")?.split_once("..")?;
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then_some(Fill::Random(low, high))
}

impl Given {
    /// Imports the model for the given inputs and makes up the others; without `make_up` an
    /// input that is not given is an error.
    pub fn prepare(
        mut self,
        model: &Model,
        mut options: Options,
        make_up: bool,
    ) -> Result<Prepared> {
        let imported = model.import_for(&self.tensors, &mut options)?;
        let mut inputs = Vec::new();
        let mut made = 0;
        for (k, name) in imported.order.iter().enumerate() {
            if let Some(tensor) = self.tensors.remove(name) {
                inputs.push((name.clone(), tensor));
                continue;
            }
            let value = imported
                .graph
                .inputs
                .iter()
                .find(|v| imported.graph.value(**v).name == *name);
            let Some(value) = value else {
                continue;
            };
            let ty = imported.graph.ty(*value);
            let fill = self.fills.iter().find(|(n, _)| n == name).map(|(_, f)| *f);
            let fill = match fill {
                Some(fill) => fill,
                None if make_up => Fill::Random(0.0, 1.0),
                None => return Err(missing(name, ty)),
            };
            let shape = concrete_shape(name, ty, &options)?;
            let dtype = element_type(ty.dtype);
            made = check_made(name, dtype, &shape, made, &options)?;
            let seed = self.seed.wrapping_add(k as u64);
            inputs.push((name.clone(), make(dtype, &shape, fill, seed)?));
        }
        Ok(Prepared {
            imported,
            options,
            inputs,
        })
    }
}

/// Inputs that are made up take at most so many bytes, unless the user grants more.
const MADE_UP_BYTES: u64 = 128 << 20;

/// The bytes of made-up inputs with one more.
///
/// Errors: more than the limit.
fn check_made(
    name: &str,
    dtype: ElementType,
    shape: &[usize],
    made: u64,
    options: &Options,
) -> Result<u64> {
    let extents = shape.iter().map(|d| *d as u64);
    let bytes = extents.fold(dtype.size_bytes() as u64, u64::saturating_mul);
    let made = made.saturating_add(bytes);
    let limit = options.memory_bytes.unwrap_or(MADE_UP_BYTES);
    if made <= limit {
        return Ok(made);
    }
    Err(Error::Limit(format!(
        "input `{name}` of {shape:?} would bring made-up inputs to {made} bytes, more than the \
         limit of {limit}; give it with --inputs, bind smaller sizes (--dim NAME=N), or raise the \
         limit (--memory-bytes)"
    )))
}

fn missing(name: &str, ty: &TensorType) -> Error {
    Error::Input {
        input: name.into(),
        found: "no tensor".into(),
        expected: format!(
            "{}; give it with --inputs or --input {name}=@FILE.npy",
            describe_type(ty)
        ),
    }
}

/// The shape of an input that is made up: symbols have the value of `--dim`, or 1.
fn concrete_shape(name: &str, ty: &TensorType, options: &Options) -> Result<Vec<usize>> {
    let extent = |d: &tensmith_ir::expr::Expr| {
        d.eval(&|atom| match atom {
            Atom::Size(s) => Some(options.dims.get(s.name()).copied().unwrap_or(1)),
            _ => None,
        })
    };
    let what = format!("input `{name}`");
    ty.shape
        .iter()
        .map(|d| bytes_of(extent(d), &what))
        .collect()
}

/// A tensor of zeros or of evenly distributed values; integers are rounded down, `bool` is
/// "at least the middle".
fn make(dtype: ElementType, shape: &[usize], fill: Fill, seed: u64) -> Result<Tensor> {
    let mut zeros = Tensor::zeros(dtype, shape)?;
    let Fill::Random(low, high) = fill else {
        return Ok(zeros);
    };
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut next = || (splitmix(&mut state) >> 11) as f64 / (1u64 << 53) as f64;
    let mut value = || low + (high - low) * next();
    match dtype {
        ElementType::F32 => {
            let elements = zeros.as_mut_slice::<f32>()?;
            elements.iter_mut().for_each(|x| *x = value() as f32);
            Ok(zeros)
        }
        ElementType::Bool => {
            let middle = low + (high - low) / 2.0;
            let bytes = zeros.bytes_mut();
            bytes
                .iter_mut()
                .for_each(|x| *x = u8::from(value() >= middle));
            Ok(zeros)
        }
        _ => {
            let mut wide = Tensor::zeros(ElementType::F64, shape)?;
            let float = tensmith::convert::dtype(dtype).is_float();
            for x in wide.as_mut_slice::<f64>()? {
                *x = if float { value() } else { value().floor() };
            }
            tensmith::convert::cast(&wide, dtype)
        }
    }
}

/// Source: S. Vigna, `splitmix64.c`, public domain.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Prepared {
    /// Views of the inputs by name.
    pub fn views(&self) -> Vec<(&str, TensorView<'_>)> {
        self.inputs
            .iter()
            .map(|(n, t)| (&n[..], t.view()))
            .collect()
    }

    /// The inputs of the graph, in its order.
    pub fn graph_inputs(&self) -> Result<Vec<tensmith_ir::tensor::Tensor>> {
        let graph = &self.imported.graph;
        let find = |id: &tensmith_ir::graph::ValueId| {
            let name = &graph.value(*id).name;
            let found = self.inputs.iter().find(|(n, _)| n == name);
            let (_, tensor) = found.ok_or_else(|| missing(name, graph.ty(*id)))?;
            Ok(to_ir(tensor.view()))
        };
        graph.inputs.iter().map(find).collect()
    }

    /// Shapes of the inputs as text.
    pub fn describe(&self) -> String {
        let one =
            |(name, t): &(String, Tensor)| format!("{name}: {}", describe(t.dtype(), t.shape()));
        self.inputs.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_are_parsed() {
        assert_eq!(parse_fill("zeros"), Some(Fill::Zeros));
        assert_eq!(parse_fill("random:0..1"), Some(Fill::Random(0.0, 1.0)));
        assert_eq!(parse_fill("random:-1.5..2"), Some(Fill::Random(-1.5, 2.0)));
        for wrong in ["ones", "random:1..0", "random:a..b", "random:1"] {
            assert_eq!(parse_fill(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn random_values_lie_in_their_range_and_repeat() {
        let fill = Fill::Random(2.0, 5.0);
        for dtype in [ElementType::F32, ElementType::I64, ElementType::F16] {
            let a = make(dtype, &[100], fill, 7).unwrap();
            let values = to_ir(a.view()).to_f64();
            assert!(values.iter().all(|v| (2.0..=5.0).contains(v)), "{values:?}");
            assert!(values.iter().any(|v| *v != values[0]));
            assert_eq!(a, make(dtype, &[100], fill, 7).unwrap());
            assert_ne!(a, make(dtype, &[100], fill, 8).unwrap());
        }
    }
}
