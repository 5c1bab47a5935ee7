//! What trees can learn, and that their text form is read back.
use super::*;

/// Rows of `features` random features and a target each.
fn sampled(seed: u64, n: usize, features: usize, target: impl Fn(&[f32]) -> f32) -> Rows {
    let mut random = Random::new(seed);
    let mut rows = Rows::default();
    for k in 0..n {
        let row: Vec<f32> = (0..features).map(|_| random.unit() as f32).collect();
        let noise = 0.05 * (random.unit() as f32 - 0.5);
        // Groups differ by a constant, which is not to be learned.
        let group = (k % 5) as u32;
        rows.push(&row, group, target(&row) + noise + 10.0 * group as f32, 0.0);
    }
    rows
}

/// The part of pairs of one group, of those that differ by more than noise, in the wrong order.
fn wrong_pairs(model: &Trees, rows: &Rows) -> f64 {
    let scores: Vec<f64> = (rows.features.chunks(model.features()))
        .map(|row| model.predict(row))
        .collect();
    let (mut wrong, mut all) = (0, 0);
    for a in 0..rows.len() {
        for b in 0..a {
            let apart = f64::from(rows.targets[a] - rows.targets[b]);
            if rows.groups[a] == rows.groups[b] && apart.abs() > 0.1 {
                all += 1;
                wrong += i32::from((scores[a] - scores[b]) * apart <= 0.0);
            }
        }
    }
    f64::from(wrong) / f64::from(all)
}

fn learned(target: impl Fn(&[f32]) -> f32) -> f64 {
    let (train, test) = (sampled(1, 600, 8, &target), sampled(2, 300, 8, &target));
    let options = Options {
        trees: 100,
        ..Options::default()
    };
    wrong_pairs(&Trees::train(&train, 8, &options), &test)
}

#[test]
fn a_step_is_learned() {
    let wrong = learned(|x| if x[3] > 0.6 { 1.0 } else { 0.0 });
    assert!(wrong < 0.01, "{wrong}");
}

#[test]
fn an_interaction_is_learned() {
    // Neither feature says anything alone.
    let wrong = learned(|x| {
        if (x[1] > 0.5) == (x[6] > 0.5) {
            1.0
        } else {
            0.0
        }
    });
    assert!(wrong < 0.03, "{wrong}");
    let smooth = learned(|x| x[0] * x[1] + x[2]);
    assert!(smooth < 0.08, "{smooth}");
}

#[test]
fn scores_keep_their_unit() {
    let rows = sampled(1, 600, 3, |x| 2.0 * x[0]);
    let options = Options {
        trees: 150,
        ..Options::default()
    };
    let model = Trees::train(&rows, 3, &options);
    let apart = model.predict(&[0.9, 0.5, 0.5]) - model.predict(&[0.1, 0.5, 0.5]);
    // 1.6 apart; the ends are pulled less, as their order is sure already.
    assert!((1.0..=1.9).contains(&apart), "{apart}");
}

#[test]
fn what_is_predicted_already_is_not_learned() {
    let mut rows = sampled(1, 300, 3, |x| x[0]);
    rows.base = rows.targets.clone();
    let model = Trees::train(&rows, 3, &Options::default());
    let most = rows.features.chunks(3).map(|row| model.predict(row).abs());
    assert!(most.fold(0.0, f64::max) < 0.05);
}

#[test]
fn training_is_deterministic_and_takes_what_comes() {
    let rows = sampled(1, 200, 4, |x| x[0] + x[1]);
    let train = || Trees::train(&rows, 4, &Options::default());
    assert_eq!(train(), train());
    assert!(Trees::train(&Rows::default(), 4, &Options::default()).is_empty());
    let mut odd = Rows::default();
    for k in 0..40 {
        odd.push(&[f32::NAN, f32::INFINITY, k as f32], 0, k as f32, 0.0);
    }
    let model = Trees::train(&odd, 3, &Options::default());
    assert!(model.predict(&[f32::NAN, 0.0, 39.0]) > model.predict(&[0.0, 0.0, 1.0]));
}

#[test]
fn the_text_form_is_read_back() {
    let rows = sampled(1, 200, 4, |x| x[0] + x[1]);
    let model = Trees::train(&rows, 4, &Options::default());
    let text = model.to_string();
    assert_eq!(text.parse(), Ok(model));
    assert_eq!("trees 0 features 7".parse(), Ok(Trees::none(7)));
}

#[test]
fn hostile_texts_are_refused() {
    let texts = [
        "",
        "trees 1 features 1",
        "trees 99999999999999999999 features 1",
        "trees 1 features 1\ntree 0",
        "trees 1 features 1\ntree 1\nNaN",
        "trees 1 features 1\ntree 1\ninf",
        // A child that stands before its parent, is its own, is shared, or is missing.
        "trees 1 features 1\ntree 3\n0 1 1 2\n0 1 0 2\n1",
        "trees 1 features 1\ntree 3\n0 1 0 2\n1\n1",
        "trees 1 features 1\ntree 3\n0 1 1 1\n1\n1",
        "trees 1 features 1\ntree 3\n0 1 1 7\n1\n1",
        "trees 1 features 1\ntree 2\n1\n1",
        // A feature that no row has.
        "trees 1 features 1\ntree 3\n1 1 1 2\n1\n1",
        "trees 1 features 0\ntree 3\n0 1 1 2\n1\n1",
        "trees 1 features 1\ntree 1\n1\nmore",
    ];
    for text in texts {
        assert!(text.parse::<Trees>().is_err(), "{text}");
    }
    let good = "trees 1 features 1\ntree 3\n0 1.5 1 2\n-0.25\n0.125\n";
    let bytes = good.as_bytes();
    let mut random = Random::new(9);
    for _ in 0..2000 {
        let mut bytes = bytes.to_vec();
        let at = random.below(bytes.len());
        bytes[at] = random.bits() as u8 & 0x7f;
        let text = String::from_utf8(bytes).unwrap();
        // Whatever is read can be used, and ends.
        if let Ok(model) = text.parse::<Trees>()
            && model.features() > 0
        {
            assert!(model.predict(&vec![0.0; model.features()]).is_finite());
        }
    }
}
