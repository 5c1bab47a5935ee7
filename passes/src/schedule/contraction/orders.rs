//! The orders of loops that a contraction may have: free parameters.
use crate::schedule::parameters::Choices;
use std::fmt;
use tensmith_ir::expr::Var;

/// Loops at most of which every order is an option.
const FEW: usize = 3;

/// An order of loops, outermost first, by their places in the order that the recipe prefers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Order(Vec<usize>);

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<String> = self.0.iter().map(usize::to_string).collect();
        write!(f, "{}", places.join("-"))
    }
}

/// The order to take of loops that `preferred` lists, outermost first, of which those that run
/// more than once are `repeated`: the others stay outside of them.
pub(super) fn ask(
    choices: &mut Choices,
    name: &str,
    preferred: Vec<Var>,
    repeated: impl Fn(&Var) -> bool,
) -> Vec<Var> {
    let (inside, once): (Vec<Var>, Vec<Var>) = preferred.iter().copied().partition(repeated);
    let options = orders(inside.len());
    if options.len() < 2 {
        return preferred;
    }
    let taken = choices.ask(name, &options, 0);
    if taken == options[0] {
        return preferred;
    }
    let inside = taken.0.into_iter().map(|k| inside[k]);
    once.into_iter().chain(inside).collect()
}

/// The orders of so many loops, the preferred one first: all of few; of many those in which one
/// loop moves to the inside or to the outside.
fn orders(count: usize) -> Vec<Order> {
    let preferred: Vec<usize> = (0..count).collect();
    if count <= FEW {
        let mut found = vec![vec![]];
        for _ in 0..count {
            let longer = |order: Vec<usize>| {
                let rest = (0..count).filter(|k| !order.contains(k));
                let longer = rest.map(|k| [&order[..], &[k]].concat());
                longer.collect::<Vec<_>>()
            };
            found = found.into_iter().flat_map(longer).collect();
        }
        return found.into_iter().map(Order).collect();
    }
    let mut found = vec![Order(preferred)];
    for k in 0..count {
        let rest: Vec<usize> = (0..count).filter(|j| *j != k).collect();
        for order in [[&[k], &rest[..]].concat(), [&rest[..], &[k]].concat()] {
            if found.iter().all(|o| o.0 != order) {
                found.push(Order(order));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::parameters::Values;

    #[test]
    fn few_loops_have_all_orders() {
        assert_eq!(orders(0).len(), 1);
        assert_eq!(orders(1).len(), 1);
        let texts: Vec<String> = orders(3).iter().map(Order::to_string).collect();
        assert_eq!(
            texts,
            ["0-1-2", "0-2-1", "1-0-2", "1-2-0", "2-0-1", "2-1-0"]
        );
    }

    #[test]
    fn one_of_many_loops_moves_to_an_end() {
        let found = orders(4);
        assert_eq!(found[0].to_string(), "0-1-2-3");
        assert_eq!(found.len(), 1 + 2 * 4 - 2);
        for order in &found {
            let mut places = order.0.clone();
            places.sort_unstable();
            assert_eq!(places, [0, 1, 2, 3]);
        }
    }

    #[test]
    fn loops_that_run_once_stay_outside() {
        let vars: Vec<Var> = (0..3).map(Var).collect();
        let repeated = |v: &Var| v.0 != 1;
        let order_of = |said: &str| {
            let values: Values = said.parse().unwrap();
            let mut choices = Choices::new(values);
            ask(&mut choices, "order", vars.clone(), repeated)
        };
        assert_eq!(order_of(""), vars);
        assert_eq!(order_of("0/order=1-0"), [Var(1), Var(2), Var(0)]);
    }
}
