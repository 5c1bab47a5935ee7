//! Models written as lines of text: `y = Mul(x, Sigmoid{}(x))`.
//!
//! A file of `tests/spellings/` has groups. A group names a pattern, its inputs and its weights
//! (constants with random elements); each spelling states its operator set, its origin, what is
//! special about it, and statements. In expressions, `1.0` is a constant of `f32`, `1` one of
//! `i64`, `[..]` a list of either, `_` an operand that is left out, `{..}` attributes, and
//! `Constant{value=..}()` a node. The last statement's result is the model's output.
use prost::Message;
use tensmith_onnx::proto::{
    AttrKind, AttributeProto, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TypeProto, ValueInfoProto, dimension, type_proto,
};

use super::{F32, I64, port};

/// A pattern and its spellings.
pub struct Group {
    /// What is spelled.
    pub pattern: String,
    inputs: Vec<ValueInfoProto>,
    weights: Vec<TensorProto>,
    /// The ways to write it.
    pub spellings: Vec<Spelling>,
}

/// One way to write a pattern.
pub struct Spelling {
    /// The operator set.
    pub opset: i64,
    /// Who writes it so.
    pub origin: String,
    /// What is special about it.
    pub note: String,
    /// Statements.
    pub body: Vec<String>,
}

/// The groups of a file.
pub fn parse(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let lines = text.lines().map(str::trim_end);
    for line in lines.filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line, ""));
        if word == "pattern" {
            groups.push(Group {
                pattern: rest.into(),
                inputs: vec![],
                weights: vec![],
                spellings: vec![],
            });
            continue;
        }
        let group = groups.last_mut().expect("a group begins with its pattern");
        match word {
            "input" => group.inputs.push(declared(rest)),
            "weight" => group.weights.push(weight(rest, group.weights.len() as u32)),
            "spelling" => group.spellings.push(spelling(rest)),
            _ => {
                let spelling = group.spellings.last_mut();
                let spelling = spelling.unwrap_or_else(|| panic!("not in a spelling: {line}"));
                spelling.body.push(line.trim().into());
            }
        }
    }
    groups
}

/// `17 | who | what`.
fn spelling(text: &str) -> Spelling {
    let mut parts = text.split('|').map(str::trim);
    let mut next = || {
        parts
            .next()
            .unwrap_or_else(|| panic!("three parts: {text}"))
    };
    Spelling {
        opset: next().parse().expect("an operator set"),
        origin: next().into(),
        note: next().into(),
        body: vec![],
    }
}

/// `name f32[2, 3]`, as a name, an element type and extents.
fn typed(text: &str) -> (&str, i32, Vec<i64>) {
    let (name, ty) = text.split_once(' ').expect("a name and a type");
    let (elem, dims) = ty.split_once('[').expect("a shape");
    let dims = dims.trim_end_matches(']').split(',').map(str::trim);
    let dims = dims.filter(|d| !d.is_empty());
    let elem = match elem {
        "f32" => F32,
        "i64" => I64,
        "bool" => 9,
        other => panic!("no element type {other}"),
    };
    (name, elem, dims.map(|d| d.parse().unwrap()).collect())
}

fn declared(text: &str) -> ValueInfoProto {
    let (name, elem, dims) = typed(text);
    port(name, elem, &dims)
}

/// The extents of an input.
fn extents(input: &ValueInfoProto) -> Vec<i64> {
    let ty = input.r#type.as_ref().and_then(|t| t.value.as_ref());
    let Some(type_proto::Value::Tensor(tensor)) = ty else {
        panic!("inputs are tensors");
    };
    let dims = tensor.shape.iter().flat_map(|s| &s.dim);
    let extent = |d: &Dimension| match d.value {
        Some(dimension::Value::Extent(extent)) => extent,
        _ => panic!("extents are stated"),
    };
    dims.map(extent).collect()
}

/// A constant of random elements from -1 to 1; of a name that begins with `positive`, from 1/2 to
/// 3/2.
fn weight(text: &str, seed: u32) -> TensorProto {
    let (name, elem, dims) = typed(text);
    let count = dims.iter().product::<i64>() as u32;
    let value = |k: u32| {
        let mixed = (k + 1 + seed * 977).wrapping_mul(2_654_435_761) >> 8;
        let unit = mixed as f32 / (1 << 24) as f32;
        match name.starts_with("positive") {
            true => unit + 0.5,
            false => 2.0 * unit - 1.0,
        }
    };
    TensorProto {
        name: name.into(),
        data_type: elem,
        dims,
        float_data: (0..count).map(value).collect(),
        ..TensorProto::default()
    }
}

/// The views that [`Group::behind`] knows.
pub const VIEWS: [&str; 5] = ["dropped", "inner", "split", "regrouped", "gathered"];

impl Group {
    /// The pattern on a view of its first input, which then is the only one that has other axes.
    pub fn behind(&self, view: &str) -> Group {
        let dims = extents(&self.inputs[0]);
        let list = |dims: &[i64]| {
            let dims: Vec<String> = dims.iter().map(i64::to_string).collect();
            format!("[{}]", dims.join(", "))
        };
        let reshape = format!("Reshape(source, {})", list(&dims));
        let (source, statement) = match view {
            "dropped" => ([&[1], &dims[..]].concat(), reshape),
            "inner" => ([&dims[..1], &[1], &dims[1..]].concat(), reshape),
            "split" => ([&[dims[0] * dims[1]], &dims[2..]].concat(), reshape),
            "regrouped" => ([&[dims[1], dims[0]], &dims[2..]].concat(), reshape),
            "gathered" => (
                [&[2], &dims[..]].concat(),
                "Gather{axis=0}(source, 1)".into(),
            ),
            other => panic!("no view {other}"),
        };
        let mut inputs = self.inputs.clone();
        let statement = format!("{} = {statement}", inputs[0].name);
        inputs[0] = port("source", F32, &source);
        let behind = |s: &Spelling| Spelling {
            body: [std::slice::from_ref(&statement), &s.body].concat(),
            origin: s.origin.clone(),
            note: s.note.clone(),
            ..*s
        };
        Group {
            pattern: format!("{}, {view}", self.pattern),
            inputs,
            weights: self.weights.clone(),
            spellings: self.spellings.iter().map(behind).collect(),
        }
    }

    /// A spelling as the bytes of a model.
    pub fn model(&self, spelling: &Spelling) -> Vec<u8> {
        let mut builder = Builder {
            nodes: vec![],
            constants: self.weights.clone(),
        };
        let mut output = String::new();
        for statement in &spelling.body {
            output = builder.statement(statement);
        }
        let tensor = type_proto::Tensor {
            elem_type: F32,
            shape: None,
        };
        let output = ValueInfoProto {
            name: output,
            r#type: Some(TypeProto {
                value: Some(type_proto::Value::Tensor(tensor)),
                ..TypeProto::default()
            }),
        };
        let model = ModelProto {
            ir_version: 8,
            graph: Some(GraphProto {
                node: builder.nodes,
                name: "spelling".into(),
                initializer: builder.constants,
                input: self.inputs.clone(),
                output: vec![output],
                ..GraphProto::default()
            }),
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: spelling.opset,
            }],
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }
}

struct Builder {
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

/// What is left of a statement.
struct Rest<'t>(&'t str);

impl<'t> Rest<'t> {
    fn eat(&mut self, mark: &str) -> bool {
        self.0 = self.0.trim_start();
        match self.0.strip_prefix(mark) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn need(&mut self, mark: &str) {
        assert!(self.eat(mark), "`{mark}` before `{}`", self.0);
    }

    /// Letters, digits, and what numbers have.
    fn word(&mut self) -> &'t str {
        self.0 = self.0.trim_start();
        let end = self
            .0
            .find(|c: char| !c.is_alphanumeric() && !"_.-+".contains(c));
        let (word, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        assert!(!word.is_empty(), "a word before `{}`", self.0);
        self.0 = rest;
        word
    }
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit() || c == '-') || word == "inf"
}

/// A constant of the words of a list; floats, if one of them has a point.
fn tensor(words: &[&str], dims: Vec<i64>) -> TensorProto {
    let float = |w: &&str| w.contains(['.', 'e', 'f']);
    let mut tensor = TensorProto {
        dims,
        ..TensorProto::default()
    };
    if words.iter().any(float) {
        tensor.data_type = F32;
        tensor.float_data = words.iter().map(|w| w.parse().unwrap()).collect();
    } else {
        tensor.data_type = I64;
        tensor.int64_data = words.iter().map(|w| w.parse().unwrap()).collect();
    }
    tensor
}

/// A number or a list of numbers.
fn literal(rest: &mut Rest<'_>) -> TensorProto {
    if !rest.eat("[") {
        return tensor(&[rest.word()], vec![]);
    }
    let mut words = Vec::new();
    while !rest.eat("]") {
        words.push(rest.word());
        rest.eat(",");
    }
    tensor(&words, vec![words.len() as i64])
}

fn attribute(rest: &mut Rest<'_>) -> AttributeProto {
    let mut attr = AttributeProto {
        name: rest.word().into(),
        ..AttributeProto::default()
    };
    rest.need("=");
    let kind = if rest.eat("\"") {
        let (text, after) = rest.0.split_once('"').expect("an end of the text");
        rest.0 = after;
        attr.s = Some(text.to_owned().into());
        AttrKind::String
    } else {
        let value = literal(rest);
        match (attr.name.as_str(), &value.dims[..], value.data_type) {
            ("value", ..) => {
                attr.t = Some(Box::new(value));
                AttrKind::Tensor
            }
            (_, [], F32) => {
                attr.f = Some(value.float_data[0]);
                AttrKind::Float
            }
            (_, [], _) => {
                attr.i = Some(value.int64_data[0]);
                AttrKind::Int
            }
            (_, _, F32) => {
                attr.floats = value.float_data;
                AttrKind::Floats
            }
            _ => {
                attr.ints = value.int64_data;
                AttrKind::Ints
            }
        }
    };
    attr.r#type = kind as i32;
    attr
}

impl Builder {
    /// Adds a statement; gives the name of its first result.
    fn statement(&mut self, text: &str) -> String {
        let (results, expression) = text.split_once(" = ").expect("`name = expression`");
        let results: Vec<String> = results.split(',').map(|r| r.trim().into()).collect();
        let mut rest = Rest(expression);
        self.expression(&mut rest, Some(&results));
        assert!(rest.0.trim().is_empty(), "`{}` in `{text}`", rest.0);
        results[0].clone()
    }

    /// Adds an expression; gives the name of its value.
    fn expression(&mut self, rest: &mut Rest<'_>, results: Option<&[String]>) -> String {
        rest.0 = rest.0.trim_start();
        let end = rest.0.find([',', ')', '(', '{']).unwrap_or(rest.0.len());
        if rest.0.starts_with('[') || is_number(rest.0[..end].trim()) {
            let mut constant = literal(rest);
            constant.name = format!("constant_{}", self.constants.len());
            self.constants.push(constant.clone());
            return constant.name;
        }
        let word = rest.word().to_owned();
        let mut node = NodeProto {
            op_type: word.clone(),
            ..NodeProto::default()
        };
        if rest.eat("{") {
            while !rest.eat("}") {
                node.attribute.push(attribute(rest));
                rest.eat(",");
            }
        }
        if !rest.eat("(") {
            return if word == "_" { String::new() } else { word };
        }
        while !rest.eat(")") {
            let operand = self.expression(rest, None);
            node.input.push(operand);
            rest.eat(",");
        }
        let fresh = vec![format!("value_{}", self.nodes.len())];
        node.output = results.map_or(fresh, <[String]>::to_vec);
        let first = node.output[0].clone();
        self.nodes.push(node);
        first
    }
}
