use super::*;

fn read(text: &str) -> Node {
    let mut problems = Problems::default();
    let node = parse(0, text, &mut problems);
    assert!(problems.is_empty(), "{:?}", problems.into_vec());
    node.unwrap()
}

fn problems(text: &str) -> Vec<String> {
    let mut problems = Problems::default();
    parse(0, text, &mut problems);
    let problems = problems.into_vec().into_iter();
    problems.map(|problem| problem.message).collect()
}

/// What a node says of its place in the text.
fn placed(text: &str, node: &Node) -> String {
    let span = node.span.unwrap();
    let end = (span.offset + span.len) as usize;
    text[span.offset as usize..end].to_owned()
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    for (text, kind) in [
        ("~", NodeKind::Null),
        ("Null", NodeKind::Null),
        ("TRUE", NodeKind::Bool(true)),
        ("false", NodeKind::Bool(false)),
        ("12", NodeKind::Integer(12)),
        ("-0012", NodeKind::Integer(-12)),
        ("+5", NodeKind::Integer(5)),
        ("0o17", NodeKind::Integer(15)),
        ("0xfF", NodeKind::Integer(255)),
        ("18446744073709551615", NodeKind::Integer(u64::MAX.into())),
        ("1.5", NodeKind::Float(1.5)),
        ("-.5", NodeKind::Float(-0.5)),
        ("1e3", NodeKind::Float(1000.0)),
        ("1.", NodeKind::Float(1.0)),
    ] {
        assert_eq!(read(text).kind, kind, "{text}");
    }
    for text in [
        "yes",
        "No",
        "on",
        "tRUE",
        "nULL",
        "1_000",
        "0b1",
        "0x",
        "-0x1",
        "1:30",
        "1e",
        "e5",
        ".",
        "1.2.3",
        "127.0.0.1",
        "5s",
        "+",
        "--1",
        "2026-01-01",
    ] {
        assert_eq!(read(text).kind, NodeKind::String(text.to_owned()), "{text}");
    }
}

#[test]
fn quotes_and_tags_make_text() {
    for text in ["\"5\"", "'5'", "!!str 5", "! 5"] {
        assert_eq!(read(text).kind, NodeKind::String("5".to_owned()), "{text}");
    }
    assert_eq!(read("!!int '5'").kind, NodeKind::Integer(5));
    assert_eq!(read("!!float 5").kind, NodeKind::Float(5.0));
    assert_eq!(
        problems("!!bool 5"),
        ["this is no value of the tag `!!bool`"]
    );
    assert_eq!(problems("!x 5"), ["unknown tag `!x`"]);
    assert_eq!(problems("!x [5]"), ["unknown tag `!x`"]);
    assert_eq!(problems("!!map [5]"), ["unknown tag `!!map`"]);
}

#[test]
fn nodes_and_keys_know_their_places() {
    let text = "é: {b: [1, \"x\"]}\nblock:\n  - one\n  - two: 3\n\n# end\nlast: |\n  text\n";
    let root = read(text);
    let NodeKind::Map(entries) = &root.kind else {
        panic!("{root:?}");
    };
    let key = entries[0].0.span.unwrap();
    assert_eq!((key.offset, key.len, key.line, key.column), (0, 2, 1, 1));
    let flow = &entries[0].1;
    assert_eq!(placed(text, flow), "{b: [1, \"x\"]}");
    assert_eq!(flow.span.unwrap().column, 4);
    let list = flow.entry("b").unwrap();
    assert_eq!(placed(text, list), "[1, \"x\"]");
    assert_eq!(placed(text, &list.as_list().unwrap()[1]), "\"x\"");
    // A block ends with its last child, not where the next key begins.
    let block = root.entry("block").unwrap();
    assert_eq!(placed(text, block), "- one\n  - two: 3");
    assert_eq!(block.span.unwrap().line, 3);
}

#[test]
fn merge_keys_add_what_is_missing() {
    let root =
        read("a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc: {<<: [*a, *b], x: 0}\nd: {'<<': 1}");
    let c = root.entry("c").unwrap();
    let values: Vec<_> = ["x", "y", "z"]
        .map(|key| c.entry(key).unwrap().kind.clone())
        .into();
    assert_eq!(
        values,
        [
            NodeKind::Integer(0),
            NodeKind::Integer(2),
            NodeKind::Integer(4)
        ]
    );
    assert_eq!(root.entry("d").unwrap().entry("<<"), Some(&1.into()));
    assert_eq!(
        problems("a: {<<: 1}"),
        ["`<<` takes a map or a list of maps"]
    );
}

#[test]
fn an_alias_can_be_a_key() {
    let root = read("a: &name text\n*name : 1");
    assert_eq!(root.entry("text"), Some(&1.into()));
    assert_eq!(problems("a: &list []\n*list : 1"), ["a key must be text"]);
    assert_eq!(problems("{[a]: 1}"), ["a key must be text"]);
}

#[test]
fn nesting_has_a_limit_through_aliases_too() {
    let deep = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert_eq!(problems(&deep(DEEPEST)), [""; 0]);
    let message = format!("lists and maps are nested deeper than {DEEPEST} levels");
    assert_eq!(problems(&deep(DEEPEST + 1)), [message.as_str()]);
    // Each alias adds forty levels below two of its own.
    let through = format!(
        "- &a {}\n- &b [*a]\n- &c {}*b{}\n",
        deep(40),
        "[".repeat(30),
        "]".repeat(30)
    );
    assert_eq!(problems(&through), [message.as_str()]);
}
