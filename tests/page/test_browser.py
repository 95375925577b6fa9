"""The page in a browser: headless Chromium, driven by playwright (extra "browser"), where both are found."""

import base64
import shutil
import statistics

import numpy as np
import pytest
from pages import NETWORKS, STROKES, digits, disturbed, network

from minidl import (
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    ReLU,
    Rescale,
    Sequential,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    Trainer,
    page,
)
from minidl.data.augment import Compose, Rotation, Shear

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "device_scale_factor": 2}


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install -e '.[browser]'")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])  # which root cannot use
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, tmp_path):
    """Return a function that exports a model and opens its page; no page may report an error or load anything."""
    contexts, problems = [], []

    def open_page(model, *, browser_options=None, **options):
        path = tmp_path / f"{len(contexts)}.html"
        page.export(model, path, **options)
        contexts.append(browser.new_context(**browser_options or {}))
        tab = contexts[-1].new_page()
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        tab.on("request", lambda request: problems.append(request.url) if request.url != path.as_uri() else None)
        tab.goto(path.as_uri())
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture(scope="module")
def data():
    return digits()


@pytest.fixture(scope="module")
def trained(data):
    """784-128-64-10, trained for a few seconds."""
    x, y, *_ = data
    layers = [Rescale(1 / 255), Flatten(), Dense(128), ReLU(), Dense(64), ReLU(), Dense(10), SoftmaxCrossEntropy()]
    model = Sequential(layers, input_shape=(28, 28, 1), seed=0)
    augment = Compose([Rotation(10), Shear(10)])
    epochs = 30 if len(x) < 5_000 else 4
    Trainer(model, Adam(2e-3), batch_size=64, seed=0, augment=augment).fit(x, y, epochs=epochs, progress=False)
    return model


def convolutional():
    """The network of the recipe "fast" of examples/cnn_recipes.py, not trained."""
    layers = [Rescale(1 / 255)]
    for filters in (8, 24):
        layers += [Conv2D(filters, 3, padding="same", use_bias=False), MaxPool2D(2), BatchNorm(), ReLU()]
    layers += [Flatten(), Dense(128), BatchNorm(), ReLU(), Dense(10), SoftmaxCrossEntropy()]
    return disturbed(Sequential(layers, input_shape=(28, 28, 1), seed=0))


def scores_on(tab, x):
    """The scores that the page computes of images of bytes, which text brings there faster than numbers."""
    score = """text => text.split(" ").map((image) => {
        const pixels = Float32Array.from(atob(image), (sign) => sign.charCodeAt(0) / model.ink);
        return [...compute(model, pixels).scores];
    })"""
    return np.array(tab.evaluate(score, " ".join(base64.b64encode(image.tobytes()).decode() for image in x)))


def wait_for_frame(tab):
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def draw(tab, strokes):
    """Draw strokes with the mouse."""
    box = tab.locator("#pad").bounding_box()
    for stroke in strokes:
        for number, (x, y) in enumerate(stroke):
            tab.mouse.move(box["x"] + x / 100 * box["width"], box["y"] + y / 100 * box["height"])
            if number == 0:
                tab.mouse.down()
        tab.mouse.up()
    wait_for_frame(tab)


def answer(tab):
    return tab.inner_text("#answer").split(" ")[0]


def image_of(tab, strokes):
    """What the network gets of these strokes, on a pad of 100 x 100."""
    scaled = [[[x / 100, y / 100] for x, y in stroke] for stroke in strokes]
    return np.array(tab.evaluate("strokes => [...imageOf(strokes, model.image)]", scaled))


def pixels_of(tab, selector):
    """The colours of a canvas, (height, width, 3)."""
    read = """canvas => [canvas.height, canvas.width,
        ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]"""
    height, width, *colours = tab.locator(selector).first.evaluate(read)
    return np.array(colours).reshape(height, width, 4)[..., :3]


# ---- The numbers


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_every_layer_computes_what_the_model_computes(open_page, name, weights):
    model = network(name)
    x = np.random.default_rng(0).integers(0, 256, (5, *model.input_shape)).astype(np.uint8)
    tab = open_page(model, weights=weights)  # in which small arrays keep their 32 bits
    np.testing.assert_allclose(scores_on(tab, x), model.predict_scores(x), rtol=1e-4, atol=1e-5)
    activations = model.activations(x[:1])
    outputs = "pixels => [...compute(model, pixels).outputs].map(([name, values]) => [name, [...values]])"
    found = tab.evaluate(outputs, [*(x[0].ravel() / 255.0)])
    assert len(found) > 2
    for path, values in found:
        np.testing.assert_allclose(values, activations[path].ravel(), rtol=1e-4, atol=1e-5, err_msg=path)


def test_scores_and_labels_are_those_of_the_model(open_page, trained, data):
    x_train, _, x_test, _ = data
    x = np.concatenate([x_test, x_train])[:1000]
    scores, wanted = scores_on(open_page(trained), x), trained.predict_scores(x)
    np.testing.assert_allclose(scores[:100], wanted[:100], rtol=0, atol=1e-3)
    assert (scores.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.999


def test_int8_agrees_about_the_labels(open_page, trained, data):
    x_train, _, x_test, _ = data
    x = np.concatenate([x_test, x_train])[:1000]
    scores = scores_on(open_page(trained, weights="int8"), x)
    assert (scores.argmax(axis=1) == trained.predict(x)).mean() >= 0.99


def test_convolutions_score_as_the_model_does(open_page, data):
    model, x = convolutional(), data[2][:100]
    scores = scores_on(open_page(model), x)
    np.testing.assert_allclose(scores, model.predict_scores(x), rtol=1e-3, atol=1e-3 * np.abs(scores).max())


def test_several_labels_have_probabilities_of_their_own(open_page):
    model = network("noise", SigmoidCrossEntropy())
    tab = open_page(model, class_names=["a", "b", "c", "d"], ink=255)
    draw(tab, STROKES[3])
    x = image_of(tab, STROKES[3]).reshape(1, *model.input_shape) * 255
    probabilities = model.predict_proba(x)[0]
    shown = [float(text.rstrip(" %")) for text in tab.locator(".percent").all_inner_texts()]
    np.testing.assert_allclose(shown, 100 * probabilities, atol=0.06 + 100 * 2e-2)
    chosen = [name for name, one in zip("abcd", probabilities > 0.5, strict=True) if one]
    assert [part.split(" ")[0] for part in tab.inner_text("#answer").split(", ")] == (chosen or ["none"])


def test_one_score_chooses_between_two_classes(open_page):
    model = Sequential([Dense(1), SigmoidCrossEntropy()], input_shape=64, seed=0)
    tab = open_page(model, class_names=["cat", "dog"])
    draw(tab, STROKES[3])
    x = image_of(tab, STROKES[3])[np.newaxis]
    assert answer(tab) == ["cat", "dog"][int(model.predict(x)[0])]
    shown = [float(text.rstrip(" %")) for text in tab.locator(".percent").all_inner_texts()]
    assert sum(shown) == pytest.approx(100, abs=0.11)


# ---- Drawing


def test_drawn_digits_are_read(open_page, trained):
    tab = open_page(trained)
    read = []
    for strokes in STROKES:
        draw(tab, strokes)
        read.append(answer(tab))
        tab.click("#clear")
    assert sum(found == str(digit) for digit, found in enumerate(read)) >= 9, read


def test_the_image_is_centered_as_mnist_is(open_page, trained):
    tab = open_page(trained)
    middles = np.arange(28) + 0.5
    for strokes in STROKES:
        image = image_of(tab, strokes).reshape(28, 28)
        rows, columns = np.nonzero(image)
        sides = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert max(sides) in {19, 20}
        for sums in (image.sum(axis=0), image.sum(axis=1)):
            assert sums @ middles / sums.sum() == pytest.approx(14, abs=0.51)
        assert (image.min(), image.max()) == (0, 1)


def test_place_and_size_of_a_drawing_do_not_matter(open_page, trained):
    tab = open_page(trained)
    for strokes in STROKES:
        small = [[(70 + x / 5, 3 + y / 5) for x, y in stroke] for stroke in strokes]
        np.testing.assert_allclose(image_of(tab, small), image_of(tab, strokes), atol=1e-4)


def test_the_image_on_the_page_is_what_the_network_gets(open_page, trained):
    tab = open_page(trained)
    draw(tab, STROKES[2])
    darkness = 255 - pixels_of(tab, "#image").mean(axis=2)
    shown = (darkness - darkness.min()) / np.ptp(darkness)
    # The mouse may be half a pixel off the points of the strokes.
    np.testing.assert_allclose(shown.ravel(), image_of(tab, STROKES[2]), atol=0.15)


def test_a_dot_and_the_whole_pad_are_images_too(open_page, trained):
    tab = open_page(trained)
    box = tab.locator("#pad").bounding_box()
    tab.mouse.click(box["x"] + 5, box["y"] + 5)
    wait_for_frame(tab)
    assert answer(tab) in {*"0123456789"}
    corner_to_corner = image_of(tab, [[(0, 0), (100, 100)]]).reshape(28, 28)
    np.testing.assert_allclose(corner_to_corner, corner_to_corner.T, atol=1e-6)


def test_all_is_updated_while_the_user_draws(open_page, trained):
    tab = open_page(trained)
    box = tab.locator("#pad").bounding_box()
    assert tab.inner_text("#answer") == "Draw something"
    seen = []
    tab.mouse.move(box["x"] + 100, box["y"] + 60)
    tab.mouse.down()
    for x, y in [(200, 60), (150, 250), (60, 100)]:
        tab.mouse.move(box["x"] + x, box["y"] + y, steps=3)
        wait_for_frame(tab)
        canvases = [pixels_of(tab, f"#layers figure:nth-child({number}) canvas") for number in range(1, 6)]
        seen.append([tab.locator("#bars").inner_text(), *map(np.ndarray.tobytes, canvases)])
    assert all(first != second for first, second in zip(seen[0], seen[1], strict=True))
    assert all(first != second for first, second in zip(seen[1], seen[2], strict=True))


def test_a_finger_draws_what_the_mouse_does(open_page, trained):
    tab = open_page(trained, browser_options=PHONE)
    box = tab.locator("#pad").bounding_box()
    session = tab.context.new_cdp_session(tab)
    for stroke in STROKES[7]:
        kinds = ["touchStart", *["touchMove"] * (len(stroke) - 1)]
        for kind, (x, y) in zip(kinds, stroke, strict=True):
            place = {"x": box["x"] + x / 100 * box["width"], "y": box["y"] + y / 100 * box["height"]}
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    wait_for_frame(tab)
    assert answer(tab) == "7"
    assert tab.evaluate("strokes.length") == len(STROKES[7])


def test_undo_and_clear_take_strokes_away(open_page, trained):
    tab = open_page(trained)
    assert tab.is_disabled("#undo")
    assert tab.is_disabled("#clear")
    draw(tab, [STROKES[1][0], STROKES[7][0], STROKES[3][0]])
    tab.click("#undo")
    wait_for_frame(tab)
    assert tab.evaluate("strokes.length") == 2
    tab.keyboard.press("Control+z")
    wait_for_frame(tab)
    assert (tab.evaluate("strokes.length"), answer(tab)) == (1, "1")
    tab.click("#clear")
    wait_for_frame(tab)
    assert tab.inner_text("#answer") == "Draw something"
    assert tab.is_disabled("#undo")


# ---- Without a mouse, and on other screens


def test_one_can_draw_and_look_by_keyboard(open_page, trained):
    tab = open_page(trained)
    tab.keyboard.press("Tab")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "pad"
    for key, times in [("ArrowUp", 6), (" ", 1), ("ArrowDown", 12), (" ", 1)]:
        for _ in range(times):
            tab.keyboard.press(key)
    wait_for_frame(tab)
    assert answer(tab) == "1"
    status = tab.get_by_role("status")
    assert status.inner_text().startswith("It says 1 (")
    assert tab.evaluate("document.documentElement.scrollHeight > 0 && scrollY") == 0
    for key in ("Tab", "Tab", "Tab", "ArrowRight", "ArrowRight"):  # undo, clear, the first layer
        tab.keyboard.press(key)
    assert tab.is_visible("#inspector")
    assert status.inner_text().startswith("unit 1: ")
    tab.keyboard.press("Escape")
    assert tab.is_hidden("#inspector")
    tab.keyboard.press("Delete")
    wait_for_frame(tab)
    assert status.inner_text() == "The pad is empty"
    for button in ("#undo", "#clear"):
        draw(tab, STROKES[1])
        tab.focus(button)
        tab.keyboard.press("Enter")
        wait_for_frame(tab)
        assert tab.evaluate("document.activeElement.id") == "pad"  # not lost with the button
    draw(tab, STROKES[1])
    tab.keyboard.press("Backspace")  # what a Mac's key "delete" sends
    wait_for_frame(tab)
    assert tab.inner_text("#answer") == "Draw something"


def test_what_one_can_use_has_a_name(open_page, trained):
    tab = open_page(trained, title="Digits")
    assert tab.title() == "Digits"
    assert tab.get_by_role("heading", level=1).inner_text() == "Digits"
    for role, name in [("application", "Drawing pad"), ("button", "Undo"), ("button", "Clear"), ("img", "scaled and")]:
        assert tab.get_by_role(role, name=name).count() == 1
    assert tab.get_by_role("application", name="dense_1, 128 units").count() == 1
    assert tab.get_by_role("listitem").count() == 10


def test_pointing_at_a_unit_of_the_first_layer_shows_its_weights(open_page, trained):
    tab = open_page(trained)
    draw(tab, STROKES[5])
    canvas = tab.locator("#layers canvas").first
    box = canvas.bounding_box()
    unit = 2 * 32 + 5  # 128 units are four rows of 32
    tab.mouse.move(box["x"] + 5.5 / 32 * box["width"], box["y"] + 2.5 / 4 * box["height"])
    value = trained.activations(image_of(tab, STROKES[5]).reshape(1, 28, 28, 1) * 255)["dense_1"][0, unit]
    text = tab.inner_text("#inspector p")
    assert text.startswith(f"unit {unit}: ")
    assert float(text.split()[2].rstrip(",")) == pytest.approx(value, abs=0.1)
    colours = pixels_of(tab, "#inspector canvas").astype(float)
    assert colours.shape == (28, 28, 3)
    shown = (colours[..., 2] - colours[..., 0]).ravel()  # blue less red
    assert np.corrcoef(shown, trained["dense_1"].weight.value[:, unit])[0, 1] > 0.95
    tab.mouse.move(0, 0)
    assert tab.is_hidden("#inspector")


def test_pointing_at_a_channel_of_the_first_layer_shows_its_kernel(open_page):
    model = convolutional()
    tab = open_page(model)
    draw(tab, STROKES[5])
    tab.locator("#layers canvas").first.hover(position={"x": 10, "y": 10})
    assert tab.inner_text("#inspector p").startswith("channel 0: ")
    colours = pixels_of(tab, "#inspector canvas").astype(float)
    shown = (colours[..., 2] - colours[..., 0]).ravel()
    assert np.corrcoef(shown, model["conv2d_1"].weight.value[..., 0].ravel())[0, 1] > 0.95


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("make", [convolutional, lambda: network("blocks")])
def test_the_page_is_as_wide_as_the_screen_in_both_modes(open_page, scheme, make):
    tab = open_page(make(), browser_options=PHONE | {"color_scheme": scheme}, title="A long title without end " * 3)
    draw(tab, STROKES[8])
    for expected in (scheme, "dark" if scheme == "light" else "light"):
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        ink, paper = (tab.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor"))
        brightness = [sum(map(int, colour[4:-1].split(","))) for colour in (ink, paper)]
        assert abs(brightness[0] - brightness[1]) > 450
        assert (brightness[0] > brightness[1]) == (expected == "dark")
        tab.click("#theme")


def test_bars_begin_at_one_place_and_have_one_length_whatever_the_names(open_page):
    names = ["7", "T-shirt/top", "a name of several words that does not fit", "Donaudampfschifffahrtsgesellschaft"]
    for options in (PHONE, {"viewport": {"width": 1200, "height": 900}}):
        tab = open_page(network("noise"), browser_options=options, class_names=names)
        draw(tab, STROKES[8])
        tracks = [track.bounding_box() for track in tab.locator(".track").all()]
        assert len({(track["x"], track["width"]) for track in tracks}) == 1
        assert tracks[0]["width"] > 60
        for name, track in zip(tab.locator("#bars li > :first-child").all(), tracks, strict=True):
            assert name.evaluate("name => name.scrollWidth <= name.clientWidth")
            box = name.bounding_box()
            assert box["x"] + box["width"] <= track["x"]
        assert tab.evaluate("document.documentElement.scrollWidth") == options["viewport"]["width"]


def test_large_images_can_be_pointed_at(open_page):
    layers = [Conv2D(1, 1), MaxPool2D(100), Flatten(), Dense(2), SoftmaxCrossEntropy()]
    tab = open_page(Sequential(layers, input_shape=(400, 400, 1), seed=0))
    draw(tab, STROKES[1])
    tab.locator("#layers canvas").first.hover(position={"x": 10, "y": 10})
    assert tab.inner_text("#inspector p").startswith("channel 0: ")


# ---- Time


@pytest.mark.parametrize(("name", "limit"), [("trained", 10), ("convolutional", 50)])
def test_an_update_takes_a_few_milliseconds(open_page, request, name, limit):
    tab = open_page(convolutional() if name == "convolutional" else request.getfixturevalue(name))
    draw(tab, STROKES[8])
    measure = "() => { const start = performance.now(); update(); return performance.now() - start; }"
    assert statistics.median(tab.evaluate(measure) for _ in range(30)) < limit
