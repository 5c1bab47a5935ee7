//! Graphs as text without names and orders that do not matter, to compare them.
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use tensmith_ir::graph::{Def, Graph, ValueId};

/// Constants that agree in so many digits are one: spellings fold them in different orders. Of large
/// ones, two sums are compared.
const DIGITS: usize = 3;

/// The nodes that the outputs need, numbered from the outputs on; operands of ops that commute are
/// in an order of their own.
pub fn canonical(graph: &Graph) -> String {
    let mut writer = Writer {
        graph,
        keys: HashMap::new(),
        numbers: HashMap::new(),
        text: String::new(),
    };
    for output in &graph.outputs {
        let number = writer.number(*output);
        let _ = writeln!(writer.text, "output %{number}");
    }
    writer.text
}

struct Writer<'g> {
    graph: &'g Graph,
    /// What a value is, as a number.
    keys: HashMap<ValueId, u64>,
    numbers: HashMap<ValueId, usize>,
    text: String,
}

impl Writer<'_> {
    /// What a value is, without its operands.
    fn head(&self, v: ValueId) -> String {
        match &self.graph.value(v).def {
            Def::Input(k) => format!("input {k} : {}", self.graph.ty(v)),
            Def::Constant(t) => {
                let values = t.to_f64();
                let digits = |x: &f64| format!("{x:.DIGITS$e}");
                let mut all: Vec<String> = values.iter().map(digits).collect();
                if all.len() > 8 {
                    let weighted = values.iter().enumerate();
                    let weighted = weighted.map(|(k, x)| x * (k % 97 + 1) as f64).sum();
                    all = [values.iter().map(|x| x.abs()).sum(), weighted]
                        .map(|x: f64| digits(&x))
                        .to_vec();
                }
                format!("const {} = [{}]", self.graph.ty(v), all.join(", "))
            }
            Def::Node(n, k) => {
                let node = self.graph.node(*n);
                let regions: Vec<String> = node.regions.iter().map(canonical).collect();
                let ty = self.graph.ty(v);
                format!("{}.{k} {} {regions:?} : {ty}", node.op.name, node.attrs)
            }
        }
    }

    fn operands(&mut self, v: ValueId) -> Vec<ValueId> {
        let Def::Node(n, _) = self.graph.value(v).def else {
            return vec![];
        };
        let node = self.graph.node(n);
        let mut operands = node.inputs.clone();
        if matches!(
            node.op.name,
            "add" | "mul" | "min" | "max" | "and" | "or" | "eq" | "ne"
        ) {
            operands.sort_by_key(|o| self.key(*o));
        }
        operands
    }

    fn key(&mut self, v: ValueId) -> u64 {
        if let Some(key) = self.keys.get(&v) {
            return *key;
        }
        let mut hasher = DefaultHasher::new();
        self.head(v).hash(&mut hasher);
        for operand in self.operands(v) {
            self.key(operand).hash(&mut hasher);
        }
        let key = hasher.finish();
        self.keys.insert(v, key);
        key
    }

    fn number(&mut self, v: ValueId) -> usize {
        if let Some(number) = self.numbers.get(&v) {
            return *number;
        }
        let operands = self.operands(v).into_iter();
        let operands: Vec<String> = operands.map(|o| format!("%{}", self.number(o))).collect();
        let number = self.numbers.len();
        let head = self.head(v);
        let _ = writeln!(self.text, "%{number} = {head} ({})", operands.join(", "));
        self.numbers.insert(v, number);
        number
    }
}
