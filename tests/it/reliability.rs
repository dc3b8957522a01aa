//! `docs/reliability.md` says what its tests prove: they had better be there.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    path::Path,
};

/// The groups of cases, and how many there are in each.
const GROUPS: [(char, usize); 10] = [
    ('A', 10),
    ('B', 10),
    ('C', 14),
    ('D', 16),
    ('E', 13),
    ('F', 12),
    ('G', 14),
    ('H', 5),
    ('I', 12),
    ('J', 9),
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The cells of the rows whose first cell is a case: what comes of it, tests, note.
fn cases(doc: &str) -> BTreeMap<(char, usize), [&str; 3]> {
    let mut cases = BTreeMap::new();
    for line in doc.lines() {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, case, outcome, tests, note, _] = cells[..] else {
            continue;
        };
        let mut digits = case.chars();
        let (Some(group), Ok(number)) = (digits.next(), digits.as_str().parse()) else {
            continue;
        };
        let other = cases.insert((group, number), [outcome, tests, note]);
        assert!(other.is_none(), "{case} is there once");
    }
    cases
}

/// What is in backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The tests in a folder of sources, by their paths.
fn tests_in(folder: &Path, module: &str, found: &mut HashSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let inner = match name {
            "main" | "lib" | "mod" => module.to_owned(),
            _ => format!("{module}{name}::"),
        };
        if path.is_dir() {
            tests_in(&path, &inner, found);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let source = fs::read_to_string(&path).unwrap();
            let is_unit = source.lines().any(|line| line == "mod tests {");
            let unit = if is_unit { "tests::" } else { "" };
            found.extend(tests_of(&source).map(|test| format!("{inner}{unit}{test}")));
        }
    }
}

/// The functions of a source that have an attribute that says that they are tests.
fn tests_of(source: &str) -> impl Iterator<Item = &str> {
    let is_test = |line: &str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    let mut follows = false;
    source.lines().map(str::trim_start).filter_map(move |line| {
        follows |= is_test(line);
        let function = line.strip_prefix("async ").unwrap_or(line);
        let name = function.strip_prefix("fn ")?.split('(').next()?;
        std::mem::take(&mut follows).then_some(name)
    })
}

fn all_tests() -> HashSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = HashSet::new();
    tests_in(&root.join("tests/it"), "", &mut found);
    tests_in(&root.join("src"), "", &mut found);
    found
}

/// The names in the table that are no test.
fn missing<'a>(cases: &BTreeMap<(char, usize), [&'a str; 3]>) -> Vec<&'a str> {
    let all = all_tests();
    let named = cases.values().flat_map(|[_, tests, _]| quoted(tests));
    named.filter(|name| !all.contains(*name)).collect()
}

#[test]
fn every_case_has_tests_that_are_there_or_a_reason() {
    let doc = read("docs/reliability.md");
    let cases = cases(&doc);
    let expected = GROUPS
        .iter()
        .flat_map(|&(group, count)| (1..=count).map(move |n| (group, n)));
    assert!(cases.keys().copied().eq(expected), "all 115, and no other");
    for (case, [outcome, tests, note]) in &cases {
        assert!(!outcome.is_empty(), "{case:?} says what comes of it");
        let is_tested = quoted(tests).next().is_some();
        let is_left_out = note.starts_with("Does not apply");
        assert!(is_tested != is_left_out, "{case:?} has a test, or a reason");
    }
    assert_eq!(missing(&cases), [""; 0], "these tests do not exist");
}

#[test]
fn a_test_that_is_not_there_is_noticed() {
    let here = "reliability::a_test_that_is_not_there_is_noticed";
    let row = format!("| A1 | fails | `{here}`<br>`reliability::no_such_test` | |");
    assert_eq!(missing(&cases(&row)), ["reliability::no_such_test"]);
    let helper = "| A1 | fails | `reliability::missing` | |";
    assert_eq!(missing(&cases(helper)), ["reliability::missing"], "no test");
}
