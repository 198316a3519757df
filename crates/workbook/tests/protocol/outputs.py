"""What a cell shows arrives at once, complete and in order."""

from kernel import FLUSH, TRAINING, expect, pause, scenario

PICTURES = """\
let series = sine_cosine(SineCosine::default())?;
let (first, second) = (plot::examples(&series, 1)?, plot::examples(&series, 2)?);"""


@scenario
def text_before_a_failure_is_kept(kernel, _):
    """A line that is not ended before a `?` or a panic is shown as written, and variables stay."""
    for failing in '"a word".parse::<u32>()?;', 'panic!("out of luck");':
        cell = kernel.run(f'print!("epoch 1 ");\n{failing}')
        expect(cell.reply["status"] == "error", "an error", cell.reply)
        expect(cell.text() == "epoch 1 ", "the text as written", cell.everything())
        kernel.expect_kept()


@scenario
def text_arrives_at_once(kernel, _):
    """The start of a line is shown while the cell that will end it still runs."""
    for flush in FLUSH, "":
        cell = kernel.ok(f'print!("a");\n{flush}\n{pause(2)}\nprintln!("b");')
        expect(cell.text() == "ab\n", "the text", cell.everything())
        gap = cell.seconds_of("b") - cell.seconds_of("a")
        expect(gap > 1.5, "two seconds between `a` and `b`", f"{gap:.2f} s, flushed: {bool(flush)}")


@scenario
def text_without_a_line_end_at_the_end_of_a_cell(kernel, _):
    """A cell that ends in the middle of a line ends, and the text is its own."""
    cell = kernel.ok(f'print!("hello");\n{FLUSH}', timeout=20)
    expect(cell.text() == "hello", "the text", cell.everything())
    cell = kernel.ok('print!("hello again");', timeout=20)
    expect(cell.text() == "hello again", "the text", cell.everything())
    cell = kernel.ok('println!("next");')
    expect(cell.text() == "next\n", "nothing of the other cells", cell.everything())


@scenario
def a_counter_renews_itself(kernel, _):
    """A line with carriage returns is seen to move, and is no result."""
    for end in ";", "":
        loop = f'for i in 0..5 {{ print!("\\r{{i}}"); {FLUSH} {pause(0.3)} }}{end}'
        cell = kernel.ok(loop, timeout=20)
        expect(cell.text() == "\r0\r1\r2\r3\r4", "the text", cell.everything())
        expect(cell.all("execute_result") == [], "no result", cell.everything())
        gap = cell.seconds_of("\r4") - cell.seconds_of("\r0")
        expect(0.8 < gap < 3, "1.2 s from the first to the last", gap)


@scenario
def pictures_and_text_keep_their_order(kernel, _):
    """Two pictures in a cell are two outputs, with the text between them."""
    kernel.ok(PICTURES)
    cell = kernel.ok(
        'first.evcxr_display();\nprintln!("between");\nsecond.evcxr_display();\nfirst.evcxr_display();'
    )
    shown = [content["text"] if kind == "stream" else content["data"].keys() for kind, content in cell.outputs()]
    expect(len(shown) == 4 and shown[1] == "between\n", "pictures and text", shown)
    for formats in shown[0], shown[2], shown[3]:
        expect({"image/png", "image/svg+xml"} <= formats, "both formats", formats)
    cell = kernel.ok('println!("before");\nfirst')
    shown = [kind for kind, _ in cell.outputs()]
    expect(shown == ["stream", "execute_result"], "a picture as the last value is the result", shown)


@scenario
def a_mark_is_found_wherever_it_stands(kernel, _):
    """A picture right after the start of a line, and text like a mark that is none."""
    page = 'println!("EVCXR_BEGIN_CONTENT text/html\\n<b>1</b>\\nEVCXR_END_CONTENT");'
    cell = kernel.ok(f'print!("a");\n{page}\nprint!("b");')
    outputs = cell.outputs()
    shown = [content["text"].strip() if kind == "stream" else content["data"] for kind, content in outputs]
    expect(shown == ["a", {"text/html": "<b>1</b>"}, "b"], "text, page, text", shown)
    cell = kernel.ok('print!("EVCX"); println!("SEQ2 E S");')
    expect(cell.text() == "EVCXSEQ2 E S\n", "text is text", cell.everything())


@scenario
def a_picture_is_renewed_in_place(kernel, _):
    """`plot::show` shows a picture in the middle of a cell, and its handle replaces it."""
    kernel.ok(PICTURES)
    cell = kernel.ok('let shown = plot::show(&first);\nprintln!("meanwhile");\nshown.update(&second);')
    kinds = [kind for kind, _ in cell.outputs()]
    expect(kinds == ["display_data", "stream", "update_display_data"], "shown, then renewed", kinds)
    (_, shown), _, (_, renewed) = cell.outputs()
    expect(shown["transient"]["display_id"] == renewed["transient"]["display_id"], "one display", kinds)
    expect(shown["data"] != renewed["data"], "another picture")
    for content in shown, renewed:
        expect({"image/svg+xml", "image/png"} <= content["data"].keys(), "both formats", content["data"].keys())
        expect(content["metadata"]["image/png"]["alt"], "an alternative text", content["metadata"])


@scenario
def a_training_is_one_renewed_output(kernel, _):
    """`fit` shows its curve in one output, and renews it at most four times a second."""
    kernel.ok(TRAINING)
    cell = kernel.ok("let long = Hyperparameters { epochs: 1500, ..short };\n"
                     "let history = fit(&mut model, &train, &validation, &long)?;", timeout=300)
    expect(len(cell.all("display_data")) == 1, "one output", [kind for kind, _ in cell.outputs()])
    ticks = [seconds for seconds, kind, _ in cell.arrivals if kind == "update_display_data"]
    expect(len(ticks) >= 3, "it is renewed", len(ticks))
    most = 4 * (ticks[-1] - ticks[0]) + 2
    expect(len(ticks) <= most, f"at most {most:.0f} times", len(ticks))
    last = cell.all("update_display_data")[-1]
    formats = last["data"].keys()
    expect({"image/png", "image/svg+xml"} <= formats, "the last state is saved whole", formats)


@scenario
def many_lines_are_few_messages(kernel, _):
    """Five thousand lines arrive complete, in tens of messages, and a picture after them."""
    kernel.ok(PICTURES)
    cell = kernel.ok('for i in 0..5000 { println!("line {i}"); }\nfirst')
    expect(cell.text() == "".join(f"line {i}\n" for i in range(5000)), "all lines, in order", len(cell.text()))
    messages = len(cell.all("stream"))
    expect(messages <= 60, "at most 60 messages", messages)
    kinds = [kind for kind, _ in cell.outputs()]
    expect(kinds[-1] == "execute_result", "the picture comes last", kinds[-3:])


@scenario
def a_thread_that_outlives_its_cell_can_write(kernel, _):
    """What a thread writes later is shown, and does not become the text of the next cell's result."""
    code = f'std::thread::spawn(|| {{ for i in 0..3 {{ {pause(0.5)} println!("late {{i}}"); }} }});'
    request = kernel.send(code)
    kernel.finish(request)
    other = kernel.ok("6 * 7")
    texts = lambda: kernel.cells[request].text() + other.text()
    kernel.until("the text of the thread", lambda: "late 2" in texts(), 20)
    result = [content["data"]["text/plain"] for content in other.all("execute_result")]
    expect(result == ["42"], "the result of the other cell", result)


@scenario
def programs_that_a_cell_starts_can_write(kernel, _):
    """What a program prints that a cell runs is the cell's text, in order."""
    program = 'std::process::Command::new("echo").arg("two").status()?;'
    cell = kernel.ok(f'println!("one");\n{program}\nprintln!("three");')
    expect(cell.text() == "one\ntwo\nthree\n", "three lines", cell.everything())
