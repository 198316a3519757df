"""What rust-analyzer tells from copies of the sources, and what from the sources themselves."""

from kernel import Kernel, expect, scenario

SET_UP = """\
use seq2seq::dfdx::prelude::*;
use seq2seq::prelude::*;
let cpu: Cpu = Cpu::default();
let data = sine_cosine(SineCosine { series: 40, ..Default::default() })?;"""

EXPRESSIONS = """\
1 + 1
1.5_f32
"text"
'c'
vec![1.0, 2.0]
vec!["a".to_owned(), "b".to_owned()]
String::from("text")
"a b c".split(' ').map(str::to_owned).collect::<Vec<String>>()
(1, "two", [3.0; 3])
[1, 2, 3].iter().sum::<i32>()
Some(5).map(|n| n * 2)
"5".parse::<u8>()
Box::new(3)
std::rc::Rc::new(std::cell::RefCell::new(vec![1]))
std::sync::Arc::new(std::sync::Mutex::new(0_u64))
std::collections::HashMap::from([("a", 1), ("b", 2)])
std::collections::BTreeMap::from([(1, 'a')])
std::collections::VecDeque::from(vec![1, 2])
std::collections::HashSet::from([1, 2])
std::time::Duration::from_millis(5)
std::time::Instant::now()
std::path::PathBuf::from("data")
std::env::current_dir()
std::cmp::Ordering::Less
std::num::NonZeroU8::new(3)
(0..10).collect::<Vec<usize>>()
0..10
std::f64::consts::PI
u32::MAX.wrapping_add(2)
i64::from(3_i32).pow(2)
"text".bytes().map(u64::from).sum::<u64>()
std::iter::repeat("ab").take(2).collect::<String>()
format!("{:?}", [1, 2])
std::mem::size_of::<[u8; 4]>()
SineCosine::default()
Hyperparameters { epochs: 1, ..Default::default() }
sine_cosine(SineCosine::default())
data.clone()
data.split(0.25)?
data.features()
data.len()
Seq2Seq::stacked(2, &Hyperparameters::default())?
cpu.tensor([[0.0_f32; 3]; 2])
cpu.tensor([1.0_f32, 2.0])
cpu.tensor([1.0_f32; 4]) * 2.0
cpu.tensor([[1.0_f32, 2.0]]).square()
cpu.tensor([[1.0_f32, 2.0]]).mean::<Rank0, _>().array()
cpu.tensor([[1.0_f32, 2.0]]).trace(Gradients::leaky()).sum::<Rank0, _>().backward()
data.len().div_ceil(3)
plot::examples(&data, 1)?
""".splitlines()


def tells(kernel):
    """What a kernel tells of each expression: its type, what can follow it, and what its last name is."""
    kernel.ok(SET_UP)
    kernel.ok("\n".join(f"let v{i} = {code};" for i, code in enumerate(EXPRESSIONS)))
    [(_, table)] = kernel.ok(":vars").outputs()
    answers = {f"type of {row}": row for row in table["data"]["text/html"].split("<tr>")}
    for code in EXPRESSIONS:
        parent = f"({code})."
        found = kernel.ask("complete", parent, len(parent))
        answers[f"completions of {code}"] = sorted(found["matches"])
        end = max(i for i, character in enumerate(code) if character.isalnum()) + 1
        answers[f"documentation of {code}"] = kernel.ask("inspect", code, end)["data"]
    return answers


@scenario
def copies_of_the_sources_tell_the_same(kernel, options):
    copied = tells(kernel)
    full = Kernel(options.patience, SEQ2SEQ_WORKBOOK_ANALYSIS="full")
    try:
        sources = tells(full)
    finally:
        full.close()
    for question in sorted(sources.keys() | copied.keys()):
        answer, wanted = copied.get(question), sources.get(question)
        expect(answer == wanted, f"the same {question}, which is {str(wanted)[:1000]}", answer)
    silent = [question for question, answer in sources.items() if not answer]
    expect(len(silent) < 20, "an answer to most questions", silent)
