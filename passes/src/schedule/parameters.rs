//! Free parameters of recipes: what a recipe chooses by the cost model, and a tuner by measuring.
//!
//! A recipe asks for each of its parameters by name, with the options that its nest has and the one
//! that the cost model prefers. [`Values`] may say another one; what is not said, or is not among
//! the options, has the default. Which parameters are asked for may depend on the values of earlier
//! ones, so a space is not a list of axes: it is what the recipe asks for on the way.
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A parameter as a recipe asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, unique in a kernel: `0/tile` is the tile of the first nest.
    pub name: String,
    /// The options in their text form, without repetitions.
    pub options: Vec<String>,
    /// The option that the cost model prefers.
    pub default: usize,
    /// The option that was taken.
    pub chosen: usize,
}

impl Parameter {
    /// The option that was taken, in its text form.
    pub fn value(&self) -> &str {
        &self.options[self.chosen]
    }
}

/// Values of parameters by their names. The text form is `NAME=VALUE`, parted by spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Values {
    said: BTreeMap<String, String>,
    /// What those of which nothing is said are drawn from; `None`: they have their defaults.
    seed: Option<u64>,
}

impl Values {
    /// The values that were taken.
    pub fn of(parameters: &[Parameter]) -> Values {
        let pair = |p: &Parameter| (p.name.clone(), p.value().to_string());
        Values {
            said: parameters.iter().map(pair).collect(),
            seed: None,
        }
    }

    /// Each parameter evenly among its options, whichever are asked for. The text form does not say
    /// so: what was taken is in the parameters of a member.
    pub fn drawn(seed: u64) -> Values {
        Values {
            seed: Some(seed),
            ..Values::default()
        }
    }

    /// The place of the option to take of a parameter: the one that was said, if it is an option;
    /// else `default`, or what is drawn.
    pub fn place(&self, name: &str, options: &[String], default: usize) -> usize {
        let said = self.get(name);
        let said = said.and_then(|value| options.iter().position(|o| o == value));
        said.unwrap_or_else(|| self.seed.map_or(default, |s| draw(s, name, options.len())))
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.said.get(name).map(String::as_str)
    }

    /// Says the value of a parameter.
    pub fn set(&mut self, name: &str, value: &str) {
        self.said.insert(name.into(), value.into());
    }

    /// Names and values, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.said.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.said.is_empty()
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (k, (name, value)) in self.iter().enumerate() {
            let gap = if k > 0 { " " } else { "" };
            write!(f, "{gap}{name}={value}")?;
        }
        Ok(())
    }
}

impl FromStr for Values {
    type Err = String;

    /// Errors: a word that is no `NAME=VALUE`, or a name that is said twice.
    fn from_str(text: &str) -> Result<Values, String> {
        let mut values = Values::default();
        for word in text.split_whitespace() {
            let (name, value) = (word.split_once('='))
                .filter(|(name, value)| !name.is_empty() && !value.is_empty())
                .ok_or_else(|| format!("`{word}` is no NAME=VALUE"))?;
            if values.said.insert(name.into(), value.into()).is_some() {
                return Err(format!("`{name}` has two values"));
            }
        }
        Ok(values)
    }
}

/// A number in `0..n`, even over seeds, for each name another one.
///
/// Source: the mixing of SplitMix64 (G. Steele, D. Lea and C. Flood, 2014), of a hash of the name
/// (FNV-1a).
fn draw(seed: u64, name: &str, n: usize) -> usize {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
        (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let z = seed.wrapping_add(hash);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((u128::from(z ^ (z >> 31)) * n as u128) >> 64) as usize
}

/// What is asked for while a kernel is scheduled.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    said: Values,
    asked: Vec<Parameter>,
    nests: usize,
}

impl Choices {
    /// With these values.
    pub fn new(said: Values) -> Choices {
        Choices {
            said,
            ..Choices::default()
        }
    }

    /// Begins the parameters of the next nest.
    pub fn next_nest(&mut self) {
        self.nests += 1;
    }

    /// The option to take of a parameter of the nest at hand: the one that was said, else
    /// `default`, a place among the options. Equal options are one, the first of them. A parameter
    /// that a nest asks for again has a number behind its name.
    pub fn ask<T>(&mut self, name: &str, options: &[T], default: usize) -> T
    where
        T: Clone + PartialEq + fmt::Display,
    {
        let name = self.unused(&format!("{}/{name}", self.nests));
        self.ask_named(name, options, default)
    }

    /// As [`Choices::ask`], of a parameter that is none of a nest.
    fn ask_named<T>(&mut self, name: String, options: &[T], default: usize) -> T
    where
        T: Clone + PartialEq + fmt::Display,
    {
        let mut firsts: Vec<usize> = Vec::new();
        for (k, option) in options.iter().enumerate() {
            if !firsts.iter().any(|first| options[*first] == *option) {
                firsts.push(k);
            }
        }
        let texts: Vec<String> = firsts.iter().map(|k| options[*k].to_string()).collect();
        let is_default = |k: &usize| options[*k] == options[default];
        let default = firsts.iter().position(is_default);
        let default = default.expect("the default is an option");
        let chosen = self.said.place(&name, &texts, default);
        let parameter = Parameter {
            name,
            options: texts,
            default,
            chosen,
        };
        // What has one option is no parameter.
        if parameter.options.len() > 1 {
            self.asked.push(parameter);
        }
        options[firsts[chosen]].clone()
    }

    fn unused(&self, name: &str) -> String {
        let is_used = |name: &str| self.asked.iter().any(|p| p.name == name);
        let numbered = (1..).map(|k| format!("{name}.{k}"));
        let mut names = std::iter::once(name.to_string()).chain(numbered);
        names.find(|n| !is_used(n)).expect("numbers do not end")
    }

    /// As [`Choices::ask`], among numbers, to which the default is added.
    pub fn number(&mut self, name: &str, options: &[i64], default: i64) -> i64 {
        let (options, at) = with_default(options, default);
        self.ask(name, &options, at)
    }

    /// As [`Choices::number`], of a parameter of the kernel as a whole, by its full name.
    pub fn number_named(&mut self, name: &str, options: &[i64], default: i64) -> i64 {
        let (options, at) = with_default(options, default);
        self.ask_named(name.into(), &options, at)
    }

    /// What was asked for, in order.
    pub fn asked(self) -> Vec<Parameter> {
        self.asked
    }
}

/// Numbers in order with one more among them, and where that is.
fn with_default(options: &[i64], default: i64) -> (Vec<i64>, usize) {
    let mut options = options.to_vec();
    options.push(default);
    options.sort_unstable();
    options.dedup();
    let at = options.iter().position(|n| *n == default);
    (options, at.expect("it was added"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back() {
        let text = "0/tile=6x4 1/ahead=1024";
        let values: Values = text.parse().unwrap();
        assert_eq!(values.to_string(), text);
        for bad in ["a", "=1", "a=", "a=1 a=2"] {
            assert!(bad.parse::<Values>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_not_said_may_be_drawn_evenly() {
        let mut counts = [[0; 3]; 2];
        for seed in 0..3000 {
            let mut choices = Choices::new(Values::drawn(seed));
            counts[0][choices.ask("a", &[0, 1, 2], 1)] += 1;
            counts[1][choices.ask("b", &[0, 1, 2], 1)] += 1;
        }
        assert!(
            counts.iter().flatten().all(|n| (900..1100).contains(n)),
            "{counts:?}"
        );
        let mut said = Values::drawn(7);
        said.set("0/a", "2");
        assert_eq!(Choices::new(said).ask("a", &[0, 1, 2], 1), 2);
    }

    #[test]
    fn what_is_said_is_taken_if_it_is_an_option() {
        let mut choices = Choices::new("0/a=3 0/b=7".parse().unwrap());
        assert_eq!(choices.ask("a", &[1, 2, 3, 3], 0), 3);
        assert_eq!(choices.ask("b", &[1, 2, 3], 1), 2);
        choices.next_nest();
        assert_eq!(choices.ask("a", &[1, 2, 3], 0), 1);
        assert_eq!(choices.number("a", &[4, 1], 2), 2);
        assert_eq!(choices.ask("alone", &["x"], 0), "x");
        let asked = choices.asked();
        let taken = Values::of(&asked).to_string();
        assert_eq!(taken, "0/a=3 0/b=2 1/a=1 1/a.1=2");
        assert_eq!(asked[0].options, ["1", "2", "3"]);
    }
}
