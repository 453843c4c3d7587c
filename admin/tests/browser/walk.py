"""Walks through Weir's pages in a real browser (Debian's Chromium), against the whole appliance.

Signs in, approves a held psql statement that then completes, kills a live session, tries a command against the policy; looks at
every page in two sizes, light and dark, for console errors and accessibility faults (axe-core). Needs the environment of
`weir-admin dev up`, and WEIR_SCREENSHOTS (a directory) and WEIR_WEB_MODULES (axe-core). Ends with 1 at the first surprise.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import Select, WebDriverWait

URL = os.environ["WEIR_WEB_URL"]
SHOTS = Path(os.environ["WEIR_SCREENSHOTS"])
AXE = (Path(os.environ["WEIR_WEB_MODULES"]) / "axe-core" / "axe.min.js").read_text()
PATIENCE = 120
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
# What somebody may write into a statement, to run in the browser of whoever looks at it.
HOSTILE = "DELETE FROM visits /* <script>document.title='owned'</script> <img src=x onerror=\"document.title='owned'\"> \u202e */"


def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(PATIENCE)
    driver.set_script_timeout(PATIENCE)
    return driver


class Walk:
    def __init__(self):
        self.driver = browser()
        self.faults = []
        self.look("desktop", "light")

    def look(self, size, scheme):
        width, height = SIZES[size]
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def until(self, what, condition):
        try:
            return WebDriverWait(self.driver, PATIENCE).until(lambda _: condition())
        except Exception as error:
            self.driver.save_screenshot(str(SHOTS / "failed.png"))
            raise SystemExit(f"{what}: never came; at {self.driver.current_url}\n{self.text()}") from error

    def find(self, selector):
        return self.until(selector, lambda: next(iter(self.driver.find_elements(By.CSS_SELECTOR, selector)), None))

    def click(self, text):
        def found():
            elements = self.driver.find_elements(By.XPATH, f"//*[self::a or self::button][contains(., {text!r})]")
            return next((element for element in elements if element.is_displayed()), None)

        self.until(f"a link or button {text!r}", found).click()

    def text(self):
        return self.driver.find_element(By.TAG_NAME, "body").text

    def says(self, text):
        def there():
            try:
                return text in self.text()
            except Exception:  # The page is being replaced.
                return False

        self.until(f"the text {text!r}", there)

    def at(self, path):
        self.until(f"the page {path}", lambda: self.driver.current_url.removeprefix(URL).split("?")[0] == path)

    def shoot(self, name, sizes=("desktop", "phone")):
        """Pictures of the page as it is, and what axe says of each."""
        for size in sizes:
            for scheme in ("light", "dark"):
                self.look(size, scheme)
                self.axe(f"{name} {size} {scheme}")
                self.fits(f"{name} {size}")
                self.driver.save_screenshot(str(SHOTS / f"{name}-{size}-{scheme}.png"))
        self.look("desktop", "light")

    def axe(self, where):
        self.driver.execute_script(AXE)
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run({resultTypes: ['violations']}).then(r => done(r.violations), e => done([{id: String(e), impact: 'critical', nodes: []}]));"
        )
        for violation in found:
            if violation["impact"] in ("serious", "critical"):
                nodes = "; ".join(node["html"][:160] + " " + node.get("failureSummary", "") for node in violation["nodes"][:3])
                self.faults.append(f"{where}: {violation['id']} ({violation['impact']}): {nodes}")

    def fits(self, where):
        wide, there = self.driver.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        if wide > there:
            self.faults.append(f"{where}: {wide} px wide where there are {there}")

    def console(self):
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING"):
                self.faults.append(f"console: {entry['level']} {entry['message']}")

    def sign_in(self, person):
        self.driver.get(URL)
        self.click("Sign in")
        self.says("Who are you?")
        self.click(person)
        self.find("header.bar")

    def sign_out(self):
        self.click("Sign out")
        self.at("/signed-out")


def psql(sql):
    environment = dict(os.environ)
    environment["PGPASSWORD"] = Path(os.environ["WEIR_TOKEN_JOB"]).read_text().strip()
    environment["PGSSLMODE"], environment["PGSSLROOTCERT"] = "verify-full", os.environ["WEIR_CA"]
    arguments = ["psql", "-X", "-h", os.environ["WEIR_PG_HOST"], "-p", os.environ["WEIR_PG_PORT"]]
    arguments += ["-d", os.environ["WEIR_PG_DATABASE"], "-U", "job", "-c", sql]
    return subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def approves_a_held_statement(walk):
    walk.driver.get(URL)
    walk.at("/sign-in")
    walk.shoot("sign-in")
    walk.sign_in("Olivia")
    walk.at("/approvals")
    walk.says("Nothing waits")
    walk.shoot("approvals-empty")
    held = psql(HOSTILE)
    # No reload: the page is told.
    walk.says("unfiltered-write")
    walk.says("<script>document.title='owned'</script>")
    assert held.poll() is None, held.communicate()
    walk.shoot("approvals")
    walk.find(".hold h2 a").click()
    walk.says("The exact command")
    walk.says("\\u{202e}")
    assert "owned" not in walk.driver.title, walk.driver.title
    walk.shoot("approval")
    # With the keyboard alone.
    reason = walk.find("#reason")
    reason.send_keys("ticket 812", Keys.TAB, Keys.ENTER)
    walk.says("Approved by olivia: ticket 812")
    out, error = held.communicate(timeout=PATIENCE)
    assert held.returncode == 0 and "DELETE" in out, (out, error)
    walk.shoot("approved", sizes=("desktop",))
    walk.sign_out()
    walk.shoot("signed-out", sizes=("desktop",))


def kills_a_live_session(walk):
    walk.driver.get(f"{URL}/sessions")
    live = psql("SELECT pg_sleep(600)")
    walk.says("nightly-report")
    walk.until("the live session", lambda: walk.driver.find_elements(By.CSS_SELECTOR, "#live td a"))
    walk.shoot("sessions")
    walk.find("#live td a").click()
    walk.says("End this session")
    walk.shoot("session")
    walk.find("#reason").send_keys("runaway job")
    walk.click("End this session")
    walk.at("/sessions")
    out, error = live.communicate(timeout=PATIENCE)
    assert live.returncode != 0, (out, error)
    walk.says("Nobody is connected")


def tries_a_command(walk):
    walk.driver.get(f"{URL}/policy")
    walk.says("Rules in force")
    for name, value in (("connection", "clinic"), ("role", "job")):
        field = walk.find(f"#{name}")
        field.clear()
        field.send_keys(value)
    Select(walk.find("#protocol")).select_by_value("sql")
    walk.find("#command").send_keys("drop/**/table patients")
    walk.click("Decide")
    walk.says("Denied by no-drop")
    walk.shoot("policy")


def main():
    SHOTS.mkdir(parents=True, exist_ok=True)
    walk = Walk()
    try:
        approves_a_held_statement(walk)
        walk.sign_in("Robin")
        walk.at("/")
        walk.says("Overview")
        kills_a_live_session(walk)
        tries_a_command(walk)
        for path in ("/", "/identities", "/connections", "/evidence", "/me"):
            walk.driver.get(URL + path)
            walk.find("h1")
            walk.shoot(path.strip("/") or "overview")
        walk.console()
    finally:
        walk.driver.quit()
    if walk.faults:
        sys.exit("\n".join(walk.faults))
    print("walked")


if __name__ == "__main__":
    started = time.monotonic()
    main()
    print(f"{time.monotonic() - started:.0f} s", file=sys.stderr)
