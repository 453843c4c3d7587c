//! Pipelines and simple queries of several statements around holds and denials, as tables: what the client sends, when
//! people answer, what the client sees, what ran. Each runs whole, byte by byte and cut anywhere.

use crate::support::driver::Driver;
use crate::support::policy::{Rules, mask_plan};
use crate::support::upstream::Upstream;
use crate::support::wire::{bind, call, close, cut, describe, execute, flush, parse, query, sync};

enum Step {
    /// Sent without waiting for anything.
    Client(Vec<Vec<u8>>),
    /// The upstream answers all that it got.
    Upstream,
    /// People answer what is held.
    Release(bool),
}

use Step::{Client, Release};

struct Transcript {
    name: &'static str,
    steps: Vec<Step>,
    client: &'static [&'static str],
    ran: &'static [&'static str],
}

/// Parse, Bind and Execute of one text.
fn runs(text: &str) -> Vec<u8> {
    [parse("", text), bind("", "", &["v"], &[]), execute("")].concat()
}

fn pipelines() -> Vec<Transcript> {
    vec![
        Transcript {
            name: "a denial in the middle group of three leaves the others alone",
            steps: vec![Client(vec![
                runs("insert 1"),
                sync(),
                runs("drop denied"),
                runs("insert 2"),
                sync(),
                runs("insert 3"),
                sync(),
            ])],
            client: &["1", "2", "C OK", "Z I", "E 42501", "Z I", "1", "2", "C OK", "Z I"],
            ran: &["insert 1", "insert 3"],
        },
        Transcript {
            name: "a denial fails what its group did before it",
            steps: vec![Client(vec![
                runs("insert 1"),
                flush(),
                runs("drop denied"),
                runs("insert 2"),
                sync(),
                query("insert 3"),
            ])],
            client: &["1", "2", "C OK", "E 42501", "Z I", "C OK", "Z I"],
            ran: &["insert 1", "insert 3"],
        },
        Transcript {
            name: "a failure before a denial is the only error of its group",
            steps: vec![Client(vec![runs("fail"), runs("drop denied"), sync(), runs("drop denied"), sync()])],
            client: &["1", "2", "E 22012", "Z I", "E 42501", "Z I"],
            ran: &["fail"],
        },
        Transcript {
            name: "a denied simple query behind messages without a Sync ends their group",
            steps: vec![Client(vec![runs("insert 1"), query("drop denied"), query("insert 2")])],
            client: &["1", "2", "C OK", "E 42501", "Z I", "C OK", "Z I"],
            ran: &["insert 1", "insert 2"],
        },
        Transcript {
            name: "a transaction begun in a pipeline fails with its denied part and can be rolled back",
            steps: vec![Client(vec![
                runs("begin"),
                runs("insert 1"),
                sync(),
                runs("drop denied"),
                sync(),
                runs("insert 2"),
                sync(),
                runs("rollback"),
                sync(),
                runs("insert 3"),
                sync(),
            ])],
            client: &[
                "1",
                "2",
                "C BEGIN",
                "1",
                "2",
                "C OK",
                "Z T",
                "E 42501",
                "Z E",
                "E 25P02",
                "Z E",
                "1",
                "2",
                "C ROLLBACK",
                "Z I",
                "1",
                "2",
                "C OK",
                "Z I",
            ],
            ran: &["begin", "insert 1", "rollback", "insert 3"],
        },
        Transcript {
            name: "named statements survive a denial between their groups",
            steps: vec![Client(vec![
                parse("a", "insert 1"),
                sync(),
                parse("b", "drop denied"),
                sync(),
                bind("p", "a", &[], &[]),
                describe(b'P', "p"),
                execute("p"),
                close(b'P', "p"),
                sync(),
                bind("", "b", &[], &[]),
                execute(""),
                sync(),
            ])],
            client: &["1", "Z I", "E 42501", "Z I", "2", "n", "C OK", "3", "Z I", "E 26000", "Z I"],
            ran: &["insert 1"],
        },
        Transcript {
            name: "a function call between groups keeps its place",
            steps: vec![Client(vec![
                runs("insert 1"),
                sync(),
                call(20_003, &[]),
                call(20_001, &[]),
                runs("insert 2"),
                sync(),
            ])],
            client: &[
                "1",
                "2",
                "C OK",
                "Z I",
                "V call 123456789",
                "Z I",
                "E 42501",
                "Z I",
                "1",
                "2",
                "C OK",
                "Z I",
            ],
            ran: &["insert 1", "SELECT", "a\"b.O'x\\", "SELECT", "insert 2"],
        },
    ]
}

fn holds() -> Vec<Transcript> {
    vec![
        Transcript {
            name: "what stands before a hold is answered while it waits, what stands behind it is not sent",
            steps: vec![
                Client(vec![
                    runs("insert 1"),
                    runs("delete held"),
                    runs("insert 2"),
                    sync(),
                    query("insert 3"),
                ]),
                Release(true),
            ],
            client: &["N 00000", "1", "2", "C OK", "1", "2", "C OK", "1", "2", "C OK", "Z I", "C OK", "Z I"],
            ran: &["insert 1", "delete held", "insert 2", "insert 3"],
        },
        Transcript {
            name: "a hold that is denied fails its group and nothing else",
            steps: vec![
                Client(vec![
                    runs("insert 1"),
                    runs("delete held"),
                    runs("insert 2"),
                    sync(),
                    query("insert 3"),
                ]),
                Release(false),
            ],
            client: &["N 00000", "1", "2", "C OK", "1", "E 42501", "Z I", "C OK", "Z I"],
            ran: &["insert 1", "insert 3"],
        },
        Transcript {
            name: "two holds of one pipeline are answered one after the other",
            steps: vec![
                Client(vec![runs("delete held"), runs("delete held 2"), sync()]),
                Release(true),
                Release(false),
                Client(vec![query("insert 1")]),
            ],
            client: &["N 00000", "1", "2", "C OK", "N 00000", "1", "E 42501", "Z I", "C OK", "Z I"],
            ran: &["delete held", "insert 1"],
        },
        Transcript {
            name: "a denial behind a hold waits for it",
            steps: vec![
                Client(vec![query("delete held"), query("drop denied"), query("insert 1")]),
                Release(true),
            ],
            client: &["N 00000", "C OK", "Z I", "E 42501", "Z I", "C OK", "Z I"],
            ran: &["delete held", "insert 1"],
        },
        Transcript {
            name: "a failure before a hold, told while it waits, swallows it",
            steps: vec![
                Client(vec![runs("fail"), runs("delete held"), sync(), query("insert 1")]),
                Step::Upstream,
                Release(true),
            ],
            client: &["N 00000", "1", "2", "E 22012", "Z I", "C OK", "Z I"],
            ran: &["fail", "insert 1"],
        },
        Transcript {
            name: "a hold in a transaction that is denied fails it",
            steps: vec![
                Client(vec![query("begin"), query("delete held"), query("insert 1"), query("rollback")]),
                Release(false),
            ],
            client: &["N 00000", "C BEGIN", "Z T", "E 42501", "Z E", "E 25P02", "Z E", "C ROLLBACK", "Z I"],
            ran: &["begin", "rollback"],
        },
        Transcript {
            name: "a held function call waits with its arguments",
            steps: vec![
                Client(vec![call(20_002, &[b"x"]), query("insert 1")]),
                Step::Upstream,
                Release(true),
            ],
            client: &["N 00000", "V call 123456789", "Z I", "C OK", "Z I"],
            ran: &["SELECT", "public.held", "insert 1"],
        },
    ]
}

fn several_statements() -> Vec<Transcript> {
    vec![
        Transcript {
            name: "one denied statement denies all of its text",
            steps: vec![Client(vec![query("insert 1; drop denied; insert 2"), query("insert 3")])],
            client: &["E 42501", "Z I", "C OK", "Z I"],
            ran: &["insert 3"],
        },
        Transcript {
            name: "one held statement holds all of its text, which runs whole",
            steps: vec![
                Client(vec![query("insert 1; delete held; insert 2"), query("insert 3")]),
                Release(true),
            ],
            client: &["N 00000", "C OK", "Z I", "C OK", "Z I"],
            ran: &["insert 1; delete held; insert 2", "insert 3"],
        },
        Transcript {
            name: "or not at all",
            steps: vec![Client(vec![query("insert 1; delete held"), query("insert 3")]), Release(false)],
            client: &["N 00000", "E 42501", "Z I", "C OK", "Z I"],
            ran: &["insert 3"],
        },
        Transcript {
            name: "an EXECUTE among others is held with what it runs",
            steps: vec![
                Client(vec![query("prepare p as delete held")]),
                Step::Upstream,
                Client(vec![query("insert 1; execute unknown"), query("insert 2")]),
            ],
            client: &["C PREPARE", "Z I", "E 26000", "Z I", "C OK", "Z I"],
            ran: &["prepare p as delete held", "insert 2"],
        },
        Transcript {
            name: "an empty text is answered as one",
            steps: vec![Client(vec![query(""), query("drop denied"), query("")])],
            client: &["I", "Z I", "E 42501", "Z I", "I", "Z I"],
            ran: &[],
        },
    ]
}

/// Upstream and machine talk until both wait for someone else.
fn settle(driver: &mut Driver, upstream: &mut Upstream, how: usize) {
    loop {
        let sent = driver.take_upstream();
        if sent.is_empty() {
            return;
        }
        for piece in cut(&upstream.answer(&sent), how) {
            driver.upstream(&piece);
        }
    }
}

fn play(it: &Transcript, rules: Rules, how: usize) -> (Vec<String>, Upstream) {
    let mut driver = Driver::open(rules);
    let mut upstream = Upstream::default();
    let mut client = Vec::new();
    for step in &it.steps {
        match step {
            Client(messages) => {
                for piece in cut(&messages.concat(), how) {
                    driver.client(&piece);
                    // Where the upstream is quick, it has answered all before the next piece comes.
                    if how % 2 == 1 {
                        client.extend(driver.client_words());
                        settle(&mut driver, &mut upstream, how);
                    }
                }
            }
            Step::Upstream => settle(&mut driver, &mut upstream, how),
            Release(allow) => {
                client.extend(driver.client_words());
                settle(&mut driver, &mut upstream, how);
                // Where the failure was told first, nothing was held at all.
                if driver.is_held() || !it.name.contains("swallows") {
                    driver.release(*allow);
                }
            }
        }
        client.extend(driver.client_words());
    }
    settle(&mut driver, &mut upstream, how);
    client.extend(driver.client_words());
    assert_eq!(driver.error, None, "{}, cut {how}", it.name);
    (client, upstream)
}

/// A notice comes when it is held, whatever of the answers before it came by then.
fn without_notices(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).filter(|word| *word != "N 00000").collect()
}

fn check(transcripts: &[Transcript]) {
    for it in transcripts {
        for how in 0..24 {
            let (client, upstream) = play(it, Rules::new(None), how);
            let expected: Vec<_> = it.client.iter().copied().filter(|word| *word != "N 00000").collect();
            assert_eq!(without_notices(&client), expected, "{}, cut {how}", it.name);
            let notices =
                |words: &mut dyn Iterator<Item = &str>| words.filter(|word| *word == "N 00000").count();
            let (seen, wanted) =
                (notices(&mut client.iter().map(String::as_str)), notices(&mut it.client.iter().copied()));
            assert!(seen == wanted || it.name.contains("swallows"), "{}, cut {how}: {client:?}", it.name);
            let ran: Vec<_> = upstream
                .ran
                .iter()
                .map(|text| if text.starts_with("SELECT") { "SELECT" } else { text })
                .collect();
            assert_eq!(ran, it.ran, "{}, cut {how}", it.name);
        }
    }
}

#[test]
fn pipelines_around_denials_are_answered_in_order_for_every_cut() {
    check(&pipelines());
}

#[test]
fn pipelines_around_holds_are_answered_in_order_for_every_cut() {
    check(&holds());
}

#[test]
fn texts_of_several_statements_are_decided_whole_for_every_cut() {
    check(&several_statements());
}

#[test]
fn masked_answers_between_denials_stay_masked_for_every_cut() {
    let it = Transcript {
        name: "rows before and behind a denial",
        steps: vec![Client(vec![
            runs("select 1"),
            sync(),
            runs("drop denied"),
            sync(),
            query("select 2"),
            query("drop denied"),
            parse("", "select 3"),
            bind("", "", &[], &[]),
            describe(b'P', ""),
            execute(""),
            sync(),
        ])],
        client: &[],
        ran: &[],
    };
    for how in 0..24 {
        let (client, upstream) = play(&it, Rules::new(Some(mask_plan())), how);
        let rows = ["D 0|hidden|call *******89", "D 1|hidden|call *******89", "D 2|hidden|call *******89"];
        let expected: Vec<&str> = [
            &["1", "2"][..],
            &rows,
            &["C SELECT 3", "Z I", "E 42501", "Z I", "T"],
            &rows,
            &["C SELECT 3", "Z I", "E 42501", "Z I", "1", "2", "T"],
            &rows,
            &["C SELECT 3", "Z I"],
        ]
        .concat();
        assert_eq!(client, expected, "cut {how}");
        assert_eq!(upstream.ran, ["select 1", "select 2", "select 3"]);
    }
}
