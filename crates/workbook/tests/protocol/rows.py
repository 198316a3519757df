"""The rows of what Jupyter's tools rely on: errors, requests and replies."""

import re
import shutil

import zmq
from jupyter_client.session import Session

from kernel import STATE, Kernel, expect, expect_error, scenario

READ_LINE = """\
let mut line = String::new();
let count = std::io::stdin().read_line(&mut line)?;
print!("{count} {line:?}");"""


@scenario
def the_first_cell_has_number_1(kernel, _):
    """Execution counts start at 1, in the reply and in the echo of the code."""
    expect(kernel.first.reply["execution_count"] == 1, "number 1", kernel.first.reply)
    echoes = kernel.first.all("execute_input")
    expect([echo["execution_count"] for echo in echoes] == [1], "one echo, number 1", echoes)


@scenario
def panics_and_early_ends_are_errors(kernel, _):
    """A panic, a failed assertion and an early `?` are told with message, line and name."""
    for name, line, message in [
        ("Panic", 'panic!("out of luck");', "out of luck"),
        ("Panic", "assert_eq!(kept_value, 42);", "assertion"),
        ("Panic", 'None::<u32>.expect("a number");', "a number"),
        ("Error", '"a word".parse::<u32>()?;', "invalid digit"),
        ("Error", 'Err("no way")?;', "no way"),
    ]:
        cell = kernel.run(f"let before = 1;\n{line}\nlet after = 1;")
        shown = expect_error(cell, name, line)
        expect(message in cell.reply["evalue"], f"the value contains {message!r}", cell.reply)
        first = next(text for text in shown.splitlines() if text.strip())
        expect(message in first, "the message comes first", shown)
        others = [kind for kind, _ in cell.outputs() if kind != "error"]
        expect(not others, "no output besides the error", cell.everything())
        kernel.expect_kept()


@scenario
def a_backtrace_is_there_on_request(kernel, _):
    """`:backtrace` shows the whole backtrace of the last panic."""
    kernel.run('panic!("out of luck");')
    cell = kernel.ok(":backtrace")
    expect("out of luck" in cell.text() and "panicking" in cell.text(), "message and frames", cell.everything())


@scenario
def panics_in_threads_and_functions_of_other_cells_are_told(kernel, _):
    """A panic in a function of an earlier cell ends the cell that calls it; one in a thread does not."""
    kernel.ok('fn unlucky() { panic!("in a function"); }')
    expect_error(kernel.run("unlucky();"), "Panic", "in a function")
    cell = kernel.ok('let ended = std::thread::spawn(|| { panic!("in a thread"); }).join().is_err();')
    expect("in a thread" in cell.text("stderr"), "the thread's panic is a text", cell.everything())
    kernel.expect_kept()


@scenario
def a_compile_error_is_told(kernel, _):
    """A compile error has a name, a value and the compiler's text with the line."""
    cell = kernel.run('let a = 1;\nlet b: u32 = "a text";')
    expect_error(cell, "CompileError", "mismatched types", 'let b: u32 = "a text";')
    cell = kernel.run("let a = missing_one;\nlet b = missing_two;")
    expect_error(cell, "CompileError", "missing_one", "missing_two")
    kernel.expect_kept()


@scenario
def a_variable_that_was_moved_is_named(kernel, _):
    """The use of a variable that another cell has moved names that cell."""
    kernel.ok("let to_be_moved = vec![1, 2];")
    thief = kernel.ok("let other = to_be_moved;").reply["execution_count"]
    cell = kernel.run('println!("{:?}", to_be_moved);')
    expect_error(cell, "CompileError", "to_be_moved", f"[{thief}]")
    expect("to_be_moved" in cell.reply["evalue"], "the value names it", cell.reply)


@scenario
def cells_behind_a_failed_one_are_aborted(kernel, _):
    """Queued cells are aborted, unless the failed one was sent with stop_on_error false."""
    for failing in 'panic!("first");', "let a: u32 = true;":
        requests = [kernel.send(code) for code in (failing, 'println!("ran");', "6 * 7")]
        first, *others = [kernel.finish(request) for request in requests]
        expect(first.reply["status"] == "error", "the first fails", first.reply)
        for cell in others:
            expect(cell.reply["status"] == "aborted", "aborted", cell.reply)
            expect(cell.outputs() == [], "no output", cell.everything())
        requests = [kernel.send(failing, stop_on_error=False), kernel.send('println!("ran");')]
        _, second = [kernel.finish(request) for request in requests]
        expect(second.text() == "ran\n", "the second runs", second.everything())
    kernel.expect_kept()


@scenario
def stderr_alone_is_no_error(kernel, _):
    """What a cell writes to stderr arrives as such, and the cell succeeds."""
    cell = kernel.ok('eprintln!("a warning");')
    expect(cell.text("stderr") == "a warning\n", "the text", cell.everything())
    expect(cell.all("error") == [], "no error", cell.everything())


@scenario
def standard_input_is_asked_for(kernel, _):
    """A cell that reads a line gets what somebody types; a second one in the same cell, too."""
    for code, answers, printed in [
        (READ_LINE, ["a word"], '7 "a word\\n"'),
        (READ_LINE.replace("std::io::stdin().read_line(&mut line)?", "0")
         + '\nfor line in std::io::stdin().lines().take(2) { print!(" <{}>", line?); }',
         ["one", "zw\u00f6lf \U0001f600"], "<one> <zw\u00f6lf \U0001f600>"),
    ]:
        request = kernel.send(code, allow_stdin=True)
        cell = kernel.cells[request]
        for number, answer in enumerate(answers, 1):
            kernel.until("an input_request", lambda: len(cell.all("input_request")) >= number)
            kernel.client.input(answer)
        kernel.finish(request)
        expect(cell.reply["status"] == "ok" and printed in cell.text(), f"printed: {printed}", cell.everything())
    kernel.expect_kept()


@scenario
def standard_input_ends_where_nobody_types(kernel, _):
    """Without allow_stdin a cell that reads ends at once, and the next one runs."""
    cell = kernel.run(READ_LINE, timeout=20)
    ended = cell.reply["status"] == "error" or cell.text() == '0 ""'
    expect(ended, "the end of the file, or an error", cell.everything())
    expect(cell.all("input_request") == [], "nobody is asked", cell.everything())
    kernel.expect_kept()


@scenario
def silent_cells_leave_no_trace(kernel, _):
    """A silent request has no echo, no result, no number and no place in the history."""
    count = kernel.ok("1").reply["execution_count"]
    cell = kernel.run("let quiet = 5;\nquiet + 1", silent=True)
    expect(cell.reply["status"] == "ok", "it runs", cell.reply)
    traces = cell.all("execute_input") + cell.all("execute_result")
    expect(traces == [], "no trace", traces)
    after = kernel.ok("quiet")
    expect(after.reply["execution_count"] == count + 1, f"the next number is {count + 1}", after.reply)


@scenario
def store_history_is_honoured(kernel, _):
    """With store_history false a cell has no number of its own, and is not in the history."""
    count = kernel.ok("1").reply["execution_count"]
    kernel.ok("let unrecorded = 1;", store_history=False)
    expect(kernel.ok("2").reply["execution_count"] == count + 1, "the number stands still")
    history = kernel.ask("history", hist_access_type="tail", n=2, raw=True, output=False)["history"]
    expect([entry[1:] for entry in history] == [[count, "1"], [count + 1, "2"]], "the history", history)


@scenario
def user_expressions_are_answered(kernel, _):
    """Each expression has a value or an error of its own, and an error harms nothing."""
    wanted = {"sum": "kept_value + 1", "wrong": "no_such_name", "text": 'format!("<{}>", kept_value)'}
    answers = kernel.ok("let a = 1;", user_expressions=wanted).reply["user_expressions"]
    expect(answers.keys() == wanted.keys(), "three answers", answers)
    expect(answers["sum"]["status"] == "ok", "a value", answers)
    expect(answers["sum"]["data"]["text/plain"] == "42", "its text", answers)
    expect("<41>" in answers["text"]["data"]["text/plain"], "its text", answers)
    expect(answers["wrong"]["status"] == "error" and answers["wrong"]["ename"], "an error", answers)
    kernel.expect_kept()


@scenario
def comm_info_is_answered(kernel, _):
    """A request for comms is answered."""
    reply = kernel.ask("comm_info")
    expect(reply["status"] == "ok" and reply["comms"] == {}, "no comms", reply)


@scenario
def history_is_answered(kernel, _):
    """The cells of the session can be asked for: the last ones, a range, and by pattern."""
    numbers = [kernel.ok(f"let unusual_{i} = {i};").reply["execution_count"] for i in range(3)]
    codes = [f"let unusual_{i} = {i};" for i in range(3)]
    tail = kernel.ask("history", hist_access_type="tail", n=3, raw=True, output=False)["history"]
    expect([entry[1:] for entry in tail] == [list(pair) for pair in zip(numbers, codes)], "the last three", tail)
    session = tail[0][0]
    options = {"session": session, "start": numbers[1], "stop": numbers[2], "raw": True, "output": False}
    middle = kernel.ask("history", hist_access_type="range", **options)["history"]
    expect([entry[2] for entry in middle] == [codes[1]], "a range without its end", middle)
    options = {"pattern": "let unusual_*", "n": 2, "raw": True, "output": False}
    found = kernel.ask("history", hist_access_type="search", **options)["history"]
    expect([entry[2] for entry in found] == codes[1:], "the last two of a pattern", found)


@scenario
def is_complete_tells_whether_enter_runs_the_cell(kernel, _):
    """Open brackets, texts and comments are incomplete, and what closes too much is invalid."""
    for code, status in [
        ("let a = 1;", "complete"), ("fn f() {\n}", "complete"), ("'('", "complete"), ("fn f() {", "incomplete"),
        ('let a = "one', "incomplete"), ("/* one", "incomplete"), ("fn f() )", "invalid"),
    ]:
        reply = kernel.ask("is_complete", code)
        expect(reply["status"] == status, f"{code!r} is {status}", reply)
        expect(status != "incomplete" or isinstance(reply["indent"], str), "an indent", reply)


@scenario
def completion_counts_code_points(kernel, _):
    """Completion counts in code points, beyond the basic plane and in characters of several."""
    for before in '"\U0001d11e\U0001f600"; ', '"e\u0301\U0001f469\u200d\U0001f52c"; ', '"\U0001f600";\nlet x = ':
        code = before + "WindowSca"
        reply = kernel.ask("complete", code + "; 1", len(code))
        expect("WindowScaler" in reply["matches"], "WindowScaler is found", reply)
        place = reply["cursor_start"], reply["cursor_end"]
        expect(place == (len(before), len(code)), f"from {len(before)} to {len(code)}", place)


@scenario
def kernel_info_has_a_banner(kernel, _):
    """The kernel tells its language, and a banner with the version of the crate."""
    reply = kernel.ask("kernel_info")
    expect(reply["language_info"]["name"] == "rust", "the language", reply)
    expect(re.search(r"seq2seq \d+\.\d+", reply["banner"]), "name and version in the banner", reply["banner"])


@scenario
def messages_of_strangers_are_ignored(kernel, _):
    """A message with a wrong signature, or none, is ignored, and the kernel answers the next one."""
    stranger = Session(key=b"another key", signature_scheme="hmac-sha256")
    content = {"code": "let kept_value = 0;", "silent": False, "allow_stdin": False}
    for channel in kernel.client.shell_channel, kernel.client.control_channel:
        # The client's sockets belong to its event loop.
        socket = zmq.Socket.shadow(channel.socket)
        stranger.send(socket, "execute_request", content)
        stranger.send(socket, "shutdown_request", {"restart": False})
        socket.send_multipart([b"nonsense"])
        socket.send_multipart([b"<IDS|MSG>", b"", b"{}", b"{}", b"{}", b"{"])
    kernel.expect_kept()
    kernel.interrupt()
    kernel.expect_kept()


@scenario
def folders_with_spaces_work(kernel, _):
    """The kernel runs cells from a folder with a space in its name."""
    # As deep as the launcher's own folder, because shared objects name their libraries by relative paths.
    state = STATE.with_name("work book")
    expect((STATE / "seed/key").exists(), "the workbook is set up")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir()
    try:
        # A kernel only copies the seed.
        for name in "seed", "venv":
            (state / name).symlink_to(STATE / name)
        other = Kernel(kernel.patience, SEQ2SEQ_WORKBOOK_STATE=str(state))
        try:
            cells = list(state.glob("kernel-*"))
            expect(len(cells) == 1, "the kernel's folder is there", cells)
            other.expect_kept()
        finally:
            other.close()
    finally:
        shutil.rmtree(state)
