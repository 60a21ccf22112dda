"""A vocabulary: trained, shown, and trained on."""
import json

from running import SMALL, command, fails


def test_a_vocabulary_is_trained_shown_used_and_trained_on(here):
    """"In the beginning was the word, and the word was ternary." 40 times: the whole of " beginning"
    becomes a token."""
    made = command("tokenizer", "train", "--data", "text.txt", "--vocab-size", 280, "--out", "v.tiktoken",
                   cwd=here)
    assert made.returncode == 0 and "v.tiktoken: 280 tokens," in made.stdout
    assert "bytes per token on text" in made.stdout and made.stderr == ""
    shown = command("tokenizer", "show", "v.tiktoken", cwd=here)
    assert "280 tokens, end token 279" in shown.stdout and "' the'" in shown.stdout
    encode = "tokenizer", "encode", "--tokenizer", "v.tiktoken"
    assert command(*encode, "the <|endoftext|>", cwd=here).stdout.count("\n") == 2
    assert "'-' '-' 'a'" in command(*encode, "--", "--abc", cwd=here).stdout, "after -- no flags"
    for out, vocabulary in (("file", "v.tiktoken"), ("spec", "bpe:280")):
        trained = command("train", "--data", "text.txt", "--tokenizer", vocabulary, "--out", out, *SMALL,
                          cwd=here)
        assert trained.returncode == 0
    assert (here / "file/tokenizer.json").read_bytes() == (here / "spec/tokenizer.json").read_bytes()
    assert json.loads((here / "file/config.json").read_text())["model"]["vocab_size"] == 280
    assert "280 tokens" in command("tokenizer", "show", "file/tokenizer.json", cwd=here).stdout
    written = command("generate", "--model", "file", "--prompt", "né 🙂", "--tokens", 5, cwd=here)
    assert written.returncode == 0


def test_mistakes_with_a_vocabulary_are_one_line(here):
    (here / "v.tiktoken").write_text("AA== 0\n")
    train = ["train", "--data", "text.txt", "--vocab-size"]
    for code, words, args in [
        (1, ["v.tiktoken:1", "byte 0x01 is none of them"], ["show", "v.tiktoken"]),
        (1, ["text.txt:1", "expected a token in base64"], ["encode", "--tokenizer", "text.txt", "the"]),
        (1, ["tokenizer 'absent'", "No such file"], ["show", "absent"]),
        (1, ["v.tiktoken is there already", "--overwrite"], [*train, "300", "--out", "v.tiktoken"]),
        (1, ["folder/v.tiktoken", "is not a directory"], [*train, "300", "--out", "folder/v.tiktoken"]),
        (1, ["'bpe:many'", "expected a vocabulary size from 257"], [*train, "many", "--out", "new.tiktoken"]),
        (1, ["no pair of tokens twice", "expected more text, or a vocabulary of at most"],
         [*train, "5000", "--out", "new.tiktoken"]),
        (1, ["a text", "is a directory"],
         ["train", "--data", ".", "--vocab-size", "300", "--out", "new.tiktoken"]),
        (2, ["--vocab-siz", "did you mean --vocab-size?", "tokenizer train --help"],
         ["train", "--vocab-siz", "3"]),
        (2, ["invalid choice: 'trian'"], ["trian"]),
    ]:
        fails(code, *words, module="tokenizer", args=args, cwd=here)
    assert not (here / "new.tiktoken").exists() and (here / "v.tiktoken").read_text() == "AA== 0\n"
    assert command("tokenizer", *train, "280", "--out", "v.tiktoken", "--overwrite", cwd=here).returncode == 0
