"""Interrupts cost no more than they must, and so do ends of the process that runs the cells."""

import os
import random
import signal
import statistics
import time

from kernel import SET_UP, SLEEP, TRAINING, expect, expect_error, expect_lost, scenario


@scenario
def an_interrupt_while_nothing_runs_costs_nothing(kernel, _):
    """Nothing happens, and the next cell is not interrupted either."""
    process = kernel.runtime()
    for _ in range(5):
        kernel.interrupt()
    kernel.receive(1)
    kernel.expect_kept()
    kernel.ok(TRAINING)
    kernel.ok("fit_with(&mut model, &train, &validation, &short, |_, _| {})?;")
    expect(kernel.runtime() == process, "the same process")


@scenario
def an_interrupted_training_keeps_everything(kernel, options):
    """Interrupts at random moments of trainings end them at once, and no variable is lost."""
    kernel.ok(TRAINING)
    process, waited = kernel.runtime(), []
    trainings = [
        "fit_with(&mut model, &train, &validation, &endless, |_, _| {})?;",
        "for _ in 0..1_000_000 { fit_with(&mut model, &train, &validation, &short, |_, _| {})?; }",
    ]
    for number in range(options.interrupts):
        request = kernel.starts(trainings[number % 2])
        time.sleep(random.uniform(0, 1))
        begin = time.monotonic()
        kernel.interrupt()
        cell = kernel.finish(request, 20)
        waited.append(time.monotonic() - begin)
        expect_error(cell, "Interrupted", "epoch")
        cell = kernel.ok('println!("{} {}", kept_value, model.predict(&validation)?.len() > 0);')
        expect(cell.text() == "41 true\n", f"all is there after interrupt {number + 1}", cell.everything())
    expect(kernel.runtime() == process, "the same process")
    middle, most = statistics.median(waited), max(waited)
    print(f"    {len(waited)} interrupts: {middle:.2f} s in the middle, {most:.2f} s at most")
    expect(middle < 0.5 and most < 2, "a training ends within 0.3 s", waited)


@scenario
def an_interrupt_while_a_cell_compiles_is_not_lost(kernel, _):
    """An interrupt between the request and the start of the training ends the cell, too."""
    kernel.ok(TRAINING)
    for delay in 0, 0.1, 0.2:
        request = kernel.send("fit_with(&mut model, &train, &validation, &endless, |_, _| {})?;")
        kernel.until("the kernel to be busy", lambda: kernel.cells[request].idle is False)
        time.sleep(delay)
        kernel.interrupt()
        cell = kernel.finish(request, 20)
        expect(cell.reply["status"] in ("error", "aborted"), "the cell does not succeed", cell.reply)
        kernel.ok("model.predict(&validation)?.len()")
    kernel.expect_kept()


@scenario
def cells_behind_an_interrupted_one_are_aborted(kernel, _):
    """An interrupt of Run All ends all of it."""
    kernel.ok(TRAINING)
    request = kernel.starts("fit_with(&mut model, &train, &validation, &endless, |_, _| {})?;")
    behind = kernel.send('println!("ran");')
    kernel.interrupt()
    expect_error(kernel.finish(request, 20), "Interrupted")
    cell = kernel.finish(behind, 20)
    expect(cell.reply["status"] == "aborted" and cell.text() == "", "aborted", cell.everything())
    kernel.expect_kept()


@scenario
def a_cell_that_never_asks_says_so(kernel, _):
    """A loop that cannot be interrupted says so after two seconds; the second interrupt ends it."""
    request = kernel.starts(SLEEP)
    cell, begin = kernel.cells[request], time.monotonic()
    before = len(cell.all("stream"))
    kernel.interrupt()
    kernel.until("a text that says so", lambda: len(cell.all("stream")) > before, 10)
    waited = time.monotonic() - begin
    expect(1.5 < waited < 5, "after two seconds", waited)
    text = cell.all("stream")[-1]["text"]
    expect("interrupt" in text.lower(), "it speaks of the interrupt", text)
    expect(cell.reply is None, "the cell still runs")
    kernel.interrupt()
    kernel.finish(request, 20)
    expect(cell.reply["status"] == "error", "an error", cell.reply)
    expect(cell.reply["ename"] in ("Interrupted", "ProcessEnded"), "its name", cell.reply)
    expect("kept_value" in "\n".join(cell.reply["traceback"]), "it names what is lost", cell.reply)
    expect_lost(kernel)


@scenario
def a_killed_process_leaves_a_kernel_that_answers(kernel, options):
    """Whoever kills the process that runs the cells, in a cell or between two, finds the kernel alive."""
    for number in range(options.kills):
        kernel.ok(SET_UP)
        if number % 2 == 0:
            request = kernel.starts(SLEEP)
            os.kill(kernel.runtime(), signal.SIGKILL)
            cell = kernel.finish(request, 30)
            expect_error(cell, "ProcessEnded", "kept_value")
        else:
            os.kill(kernel.runtime(), signal.SIGKILL)
            cell = kernel.run("1", timeout=30)
            expect("kept_value" in cell.everything(), "the next cell says what is lost", cell.everything())
        expect_lost(kernel)
