"""Runs jupyter_kernel_test, Jupyter's own suite for kernels, against the workbook's kernel.

Run by protocol.rs, which installs the suite.
"""

import sys
import unittest

import jupyter_kernel_test
from jupyter_client.manager import start_new_kernel

# The tests of the suite that do not apply, and why.
LEFT_OUT = {
    "test_pager": "no code in a cell can open a pager: that is a command of IPython's shell",
    "test_clear_output": "evcxr has no call with which a cell clears its output; pictures are renewed in place",
}


class RustKernelTests(jupyter_kernel_test.KernelTests):
    kernel_name = "seq2seq-rust"
    language_name = "rust"
    file_extension = ".rs"
    code_hello_world = 'println!("hello, world");'
    code_stderr = 'eprintln!("a warning");'
    code_page_something = ""
    code_clear_output = ""
    completion_samples = [
        {"text": "a_variable_of_the_su", "matches": {"a_variable_of_the_suite"}},
        {"text": "String::from_utf16_l"},
    ]
    complete_code_samples = ["1 + 1", "let a = 1;", "fn f() {}", 'println!("{}", 1);', ":vars", "", "// {"]
    incomplete_code_samples = ["fn f() {", "let a = [1,", 'let a = "one', "/* one", "let a ="]
    invalid_code_samples = ["fn f() )", "}"]
    code_generate_error = 'panic!("out of luck");'
    code_execute_result = [
        {"code": "6 * 7", "result": "42"},
        {"code": '"a word".len()', "result": "6"},
    ]
    code_display_data = [
        {
            "code": "let data = sine_cosine(SineCosine::default())?; plot::show(&plot::examples(&data, 1)?);",
            "mime": "image/svg+xml",
        },
        {
            "code": 'println!("EVCXR_BEGIN_CONTENT text/html\\n<b>1</b>\\nEVCXR_END_CONTENT\\nand a text");',
            "mime": "text/html",
        },
    ]
    code_history_pattern = "*len()"
    supported_history_operations = ("tail", "range", "search")
    code_inspect_sample = "std::mem::swap"

    @classmethod
    def setUpClass(cls):
        cls.km, cls.kc = start_new_kernel(startup_timeout=600, kernel_name=cls.kernel_name)
        for cell in "use seq2seq::prelude::*;", "let a_variable_of_the_suite = 1;":
            cls.kc.execute_interactive(cell, timeout=120)


def main():
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(RustKernelTests)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    skipped = {case.id().split(".")[-1]: reason for case, reason in result.skipped}
    if skipped.keys() != LEFT_OUT.keys():
        sys.exit(f"skipped: {skipped}, and these may be: {LEFT_OUT}")
    for name, reason in LEFT_OUT.items():
        print(f"{name} does not apply: {reason}")
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
