//! "Did you mean": the word of a list that is nearest to one that is not in it.
//!
//! Deliberately absent: guesses. Where nothing is near, nothing is suggested, and the list alone is shown.

/// More names than these are not read by anyone; a suggestion is found among all of them.
const SHOWN: usize = 12;
/// Longer words are not compared, for comparing costs the product of two lengths.
const LONGEST_WORD: usize = 64;

/// The candidate that `word` was most likely meant to be.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    if word.len() > LONGEST_WORD {
        return None;
    }
    // A third of the letters may differ, and never all of them.
    let tolerated = |candidate: &str| {
        let letters = word.chars().count().max(candidate.chars().count());
        letters.div_ceil(3).min(3).min(letters.saturating_sub(1))
    };
    let near = candidates.into_iter().filter(|candidate| candidate.len() <= LONGEST_WORD).filter_map(|candidate| {
        let (short, long) =
            if word.len() < candidate.len() { (word.as_str(), candidate) } else { (candidate, word.as_str()) };
        let beginning = short.len() >= 3 && long.starts_with(short);
        let distance = if beginning { 1 } else { distance(&word, &candidate.to_lowercase()) };
        (distance <= tolerated(candidate)).then_some((distance, candidate))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

/// "did you mean `x`? upstreams here: `x`, `y`", or only what is there.
pub(super) fn help(word: &str, what: &str, candidates: &[&str]) -> String {
    let listed = list(candidates);
    match nearest(word, candidates.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {what}: {listed}"),
        None => format!("{what}: {listed}"),
    }
}

/// The names in backticks; of many, the first.
pub(super) fn list(names: &[&str]) -> String {
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => return "none".to_owned(),
        more if more > SHOWN => shown.push(format!("and {} more", more - SHOWN)),
        _ => {}
    }
    shown.join(", ")
}

/// How many letters must be added, dropped, replaced, or swapped with their neighbour (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut previous = None;
    for (row, letter) in a.chars().enumerate() {
        let mut line = vec![row + 1];
        for (column, other) in b.iter().enumerate() {
            let cell = |line: &[usize], at: usize| line.get(at).copied().unwrap_or(usize::MAX - 1);
            let replaced = cell(&above, column) + usize::from(letter != *other);
            let mut best = replaced.min(cell(&above, column + 1) + 1).min(cell(&line, column) + 1);
            let left = column.checked_sub(1).and_then(|left| b.get(left).map(|other| (left, *other)));
            if let Some((left, neighbour)) = left
                && previous == Some(*other)
                && letter == neighbour
            {
                best = best.min(cell(&before, left) + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut above, line);
        previous = Some(letter);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_costs_one() {
        for word in ["addres", "addresss", "adderss", "addrexs"] {
            assert_eq!(distance(word, "address"), 1, "{word}");
        }
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("ab", "ba"), 1);
    }

    #[test]
    fn only_what_is_near_is_suggested() {
        assert_eq!(nearest("upstrem", ["listeners", "upstream"]), Some("upstream"));
        assert_eq!(nearest("web", ["api", "web-v2"]), Some("web-v2"));
        assert_eq!(nearest("cert", ["certificate", "key"]), Some("certificate"));
        assert_eq!(nearest("banana", ["listeners", "upstream"]), None);
        assert_eq!(nearest("", ["a"]), None);
    }
}
