"""What docs/apps.md tells apps to do to a text before MediaPipe: what the package's own tokenizer does."""

import re
import shutil
import unicodedata

import pytest
from fixtures.app_code import code_with, normalize_in_node, run_on_lines

from sqb_tf.heads import registry
from sqb_tf.text.characters import Characters

# The calls of the Kotlin on the page, which are Java's.
JAVA = """
import java.nio.charset.StandardCharsets;
import java.text.Normalizer;
import java.util.Locale;

class Normalized {
    static String normalized(String text) {
        return Normalizer.normalize(
            Normalizer.normalize(text, Normalizer.Form.NFKC)
                .toLowerCase(Locale.ROOT).replace("ß", "ss").replace("ς", "\\u03c3"),
            Normalizer.Form.NFD
        ).replaceAll("[\\\\p{Mn}\\\\p{Cf}]", "");
    }

    public static void main(String[] arguments) throws Exception {
        String lines = new String(System.in.readAllBytes(), StandardCharsets.UTF_8);
        String output = java.util.Arrays.stream(lines.split("\\n", -1))
            .map(Normalized::normalized).collect(java.util.stream.Collectors.joining("\\n"));
        System.out.write(output.getBytes(StandardCharsets.UTF_8));
        System.out.flush();
    }
}
"""
# Casing that programming languages do otherwise than Unicode's folding of 2019, which the tokenizer has.
EXCEPTIONS = re.compile(r"CHEROKEE|GREEK.*(YPOGEGRAMMENI|PROSGEGRAMMENI)|HANGUL.*FILLER|HANUNOO")


def normalize_in_java(lines: list[str], folder) -> list[str]:
    if shutil.which("javac") is None:
        pytest.skip("javac is not installed: apt-get install default-jdk-headless")
    (folder / "Normalized.java").write_text(JAVA, encoding="utf-8")
    return run_on_lines(["java", "-Dfile.encoding=UTF-8", str(folder / "Normalized.java")], lines)


def characters() -> list[str]:
    """Every letter, mark, digit, sign and invisible character of Unicode 3.2, which all platforms know."""
    kinds = {"L", "M", "N", "P", "S", "Cf"}
    codes = (code for code in range(32, 0x30000) if not 0xD800 <= code <= 0xDFFF)
    categories = ((chr(code), unicodedata.ucd_3_2_0.category(chr(code))) for code in codes)
    return [c for c, category in categories if {category, category[0]} & kinds]


@pytest.mark.parametrize("normalize", [normalize_in_node, normalize_in_java])
def test_every_character_becomes_what_the_tokenizer_makes_of_it(normalize, tmp_path):
    table, tested = Characters(lowercase=True), characters()
    # Between letters: some characters have another form at the end of a word.
    results = normalize([f"a{character}a" for character in tested], tmp_path)
    different = [
        (unicodedata.name(character, ""), result)
        for character, result in zip(tested, results, strict=True)
        if result != f"a{table.normalize[ord(character)]}a"
        # Signs that stand before numbers in Arabic and others: spaces for the tokenizer.
        and not (unicodedata.category(character) == "Cf" and table.normalize[ord(character)] == " ")
    ]
    unexpected = [name for name, _ in different if not EXCEPTIONS.search(name)]
    assert len(tested) > 90_000 and not unexpected
    assert len(different) < 200


@pytest.mark.parametrize("normalize", [normalize_in_node, normalize_in_java])
def test_words_are_normalized_whole(normalize, tmp_path):
    texts = ["ΟΔΥΣΣΕΥΣ Straße ŒUVRE ﬁn", "İstanbul ИЖЕВСК soft\u00adhyphen", "e\u0301té № ½", ""]
    table = Characters(lowercase=True)
    assert normalize(texts, tmp_path) == [text.translate(table.normalize) for text in texts]


def test_the_kotlin_has_the_calls_that_are_tested():
    kotlin = code_with("normalized", "kotlin")
    for call in (
        "Form.NFKC",
        "(Locale.ROOT)",
        'replace("ß", "ss")',
        'replace("ς", ',
        "Form.NFD",
    ):
        assert call in kotlin and call in JAVA
    assert r"[\\p{Mn}\\p{Cf}]" in kotlin and r"[\\p{Mn}\\p{Cf}]" in JAVA


def test_cased_models_that_mediapipe_would_open_are_warned_of():
    for name, head in registry.HEADS.items():
        bound = head(head.fixed_labels or ("a", "b"), head.always_paired)
        warned = bound.mediapipe_caveat(lowercase=False) is not None
        assert warned == (name in ("classification", "multi_label", "embedding"))
        assert bound.mediapipe_caveat(lowercase=True) is None
    learners = [registry.get_task_head(name)(paired=True) for name in ("similarity", "retrieval")]
    assert all(head.mediapipe_caveat(lowercase=False) for head in learners)
    pairs = registry.get("classification")(("a", "b"), paired=True)
    assert pairs.mediapipe_caveat(lowercase=False) is None
