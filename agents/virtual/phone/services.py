"""What a phone's system commands answer: dumpsys, cmd, settings, getprop and their kin, as Android words it.

A pure function of the profile, the physics' state and what was set before; the commands that are a phone's toolbox
(ls, ps, tar, ...) are programs in its root and not here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from agents.virtual.phone.physics import State
from agents.virtual.phone.profile import Profile
from agents.virtual.phone.readouts import Reading, render_battery, render_thermal

# The programs that are one question to these services each.
COMMANDS = (
    *("am", "cmd", "dumpsys", "getconf", "getenforce", "getprop", "id", "input", "logcat", "pm", "setprop", "settings"),
    *("svc", "uname", "whoami", "wm"),
)


@dataclass(frozen=True)
class Answer:
    """Of a command: ``text`` goes to standard output, or to standard error where ``failed``."""

    text: str = ""
    code: int = 0
    failed: bool = False


@dataclass(frozen=True)
class Process:
    """Of the phone. Memory in KiB, times in seconds."""

    number: int
    name: str
    rss_kib: int
    cpu_seconds: float


@dataclass
class Services:
    """``battery`` and ``state`` are renewed by the world; the rest is what commands set."""

    profile: Profile
    properties: dict[str, str]
    state: State
    battery: Reading
    plugged: bool
    memory_available_kib: int
    processes: Callable[[], Sequence[Process]]
    uptime_seconds: Callable[[], float]
    page_bytes: int
    cpus: int
    settings: dict[str, dict[str, str]] = field(default_factory=dict)  # by namespace
    faked_battery: dict[str, int] | None = None  # what `dumpsys battery set` said, while updates are stopped
    faked_status: int | None = None  # of `cmd thermalservice override-status`
    fixed_performance: bool = False
    awake: bool = True
    idle_enabled: bool = True

    def answer(self, name: str, words: Sequence[str]) -> Answer:
        """What the command ``name`` says to these arguments."""
        if name not in COMMANDS:
            return Answer(f"{name}: inaccessible or not found\n", 127, failed=True)
        run: Callable[[list[str]], Answer] = getattr(self, f"_{name}")
        return run(list(words))

    # properties and settings

    def _getprop(self, words: list[str]) -> Answer:
        if words:
            return Answer(f"{self.properties.get(words[0], words[1] if len(words) > 1 else '')}\n")
        return Answer("".join(f"[{key}]: [{value}]\n" for key, value in sorted(self.properties.items())))

    def _setprop(self, words: list[str]) -> Answer:
        if len(words) != 2:
            return Answer("usage: setprop NAME VALUE\n", 1, failed=True)
        name, value = words
        if not name.startswith(("debug.", "log.", "persist.log.tag", "sys.powerctl")):
            return Answer(f"setprop: failed to set property '{name}' to '{value}'\n", 1, failed=True)
        self.properties[name] = value
        return Answer()

    def _settings(self, words: list[str]) -> Answer:
        match words:
            case [verb, space, *_] if verb in ("get", "put", "delete", "list") and space not in (
                "system",
                "secure",
                "global",
            ):
                return Answer(f"Error: Invalid namespace '{space}'\n", 255, failed=True)
            case ["get", space, key]:
                return Answer(f"{self.settings.get(space, {}).get(key, 'null')}\n")
            case ["put", space, key, value, *_]:
                self.settings.setdefault(space, {})[key] = value
                return Answer()
            case ["delete", space, key]:
                gone = self.settings.get(space, {}).pop(key, None)
                return Answer(f"Deleted {int(gone is not None)} rows\n")
            case ["list", space]:
                return Answer("".join(f"{k}={v}\n" for k, v in sorted(self.settings.get(space, {}).items())))
        return Answer("Settings provider (settings) commands: get, put, delete, list\n", 255, failed=True)

    # dumpsys

    def _dumpsys(self, words: list[str]) -> Answer:
        words = words[2:] if words[:1] == ["-t"] else words
        services: dict[str, Callable[[list[str]], Answer]] = {
            "battery": self._dump_battery,
            "cpuinfo": self._dump_cpuinfo,
            "deviceidle": self._dump_deviceidle,
            "meminfo": self._dump_meminfo,
            "power": self._dump_power,
        }
        if int(self.properties["ro.build.version.sdk"]) >= 29:
            services["thermalservice"] = self._dump_thermalservice
        if self.profile.rails:
            services["powerstats"] = self._dump_powerstats
        if words[:1] in ([], ["-l"]):
            return Answer("Currently running services:\n" + "".join(f"  {name}\n" for name in sorted(services)))
        if words[0] not in services:
            return Answer(f"Can't find service: {words[0]}\n", 0, failed=True)
        return services[words[0]](words[1:])

    def _dump_battery(self, words: list[str]) -> Answer:
        fakes = {"ac", "usb", "wireless", "dock", "status", "level", "temp", "counter", "present", "invalid"}
        words = [word for word in words if word != "-f"]
        match words:
            case []:
                return Answer(render_battery(self.profile, self.battery, self.plugged, self.faked_battery))
            case ["unplug"]:
                self.faked_battery = {**(self.faked_battery or {}), "ac": 0, "usb": 0, "wireless": 0, "dock": 0}
            case ["reset"]:
                self.faked_battery = None
            case ["set", key, value] if key in fakes and not re.fullmatch("-?[0-9]{1,9}", value):
                return Answer(f"Bad value: {value}\n", 255, failed=True)
            case ["set", key, value] if key in fakes:
                self.faked_battery = {**(self.faked_battery or {}), key: int(value)}
            case ["set", key, _]:
                return Answer(f"Unknown set option: {key}\n")
            case _:
                return _unknown(words)
        return Answer()

    def _dump_thermalservice(self, _words: list[str]) -> Answer:
        return Answer(render_thermal(self.profile, self.state, self.faked_status))

    def _dump_power(self, _words: list[str]) -> Answer:
        wake = "Awake" if self.awake else "Asleep"
        stay = self.settings.get("global", {}).get("stay_on_while_plugged_in", "0")
        return Answer(
            "POWER MANAGER (dumpsys power)\n\nPower Manager State:\n"
            f"  mWakefulness={wake}\n  mIsPowered={str(self.plugged).lower()}\n  mBatteryLevel={self.battery.level}\n"
            f"  mStayOnWhilePluggedInSetting={stay}\n  mDisplayReady=true\n"
            f"  mFixedPerformanceModeEnabled={str(self.fixed_performance).lower()}\n"
        )

    def _dump_cpuinfo(self, _words: list[str]) -> Answer:
        uptime = max(1.0, self.uptime_seconds())
        lines = [
            f"  {process.cpu_seconds / uptime * 100:.1f}% {process.number}/{process.name}: "
            f"{process.cpu_seconds / uptime * 100:.1f}% user + 0% kernel\n"
            for process in sorted(self.processes(), key=lambda found: -found.cpu_seconds)
        ]
        return Answer("Load: 0.0 / 0.0 / 0.0\nCPU usage since boot:\n" + "".join(lines))

    def _dump_meminfo(self, words: list[str]) -> Answer:
        wanted = [word for word in words if not word.startswith("-")]
        found = [p for p in self.processes() if not wanted or wanted[0] in (str(p.number), p.name)]
        if wanted and not found:
            return Answer(f"No process found for: {wanted[0]}\n")
        up = round(self.uptime_seconds() * 1000)
        head = f"Applications Memory Usage (in Kilobytes):\nUptime: {up} Realtime: {up}\n\n"
        if wanted:
            process = found[0]
            return Answer(
                f"{head}** MEMINFO in pid {process.number} [{process.name}] **\n"
                f"           TOTAL RSS: {process.rss_kib:8d}\n"
            )
        rows = "".join(f"{p.rss_kib:>11,}K: {p.name} (pid {p.number})\n" for p in found)
        return Answer(
            f"{head}Total RSS by process:\n{rows}\nTotal RAM: {self.profile.memory_kib:,}K (status normal)\n"
            f" Free RAM: {self.memory_available_kib:,}K\n"
        )

    def _dump_deviceidle(self, words: list[str]) -> Answer:
        if not words:
            return Answer(f"  Settings:\n  mDeepEnabled={str(self.idle_enabled).lower()}\n  mState=ACTIVE\n")
        return self._deviceidle(words)

    def _dump_powerstats(self, _words: list[str]) -> Answer:
        names = "".join(
            f"ChannelId: {number}, ChannelName: {rail.name}, ChannelSubsystem: {rail.cluster or 'Display'}\n"
            for number, rail in enumerate(self.profile.rails)
        )
        return Answer(f"PowerStatsService dumpsys: available Channels\n{names}")

    # cmd and what stands for parts of it

    def _cmd(self, words: list[str]) -> Answer:
        services: dict[str, Callable[[list[str]], Answer]] = {
            "battery": self._dump_battery,
            "connectivity": self._connectivity,
            "deviceidle": self._deviceidle,
            "package": self._pm,
            "power": self._power,
            "settings": self._settings,
        }
        if int(self.properties["ro.build.version.sdk"]) >= 29:
            services["thermalservice"] = self._thermalservice
        if not words:
            return Answer("cmd: No service specified; use -l to list all running services.\n", 20, failed=True)
        if words == ["-l"]:
            return Answer("Currently running services:\n" + "".join(f"  {name}\n" for name in sorted(services)))
        if words[0] not in services:
            return Answer(f"cmd: Can't find service: {words[0]}\n", 20, failed=True)
        return services[words[0]](words[1:])

    def _power(self, words: list[str]) -> Answer:
        match words:
            case ["set-fixed-performance-mode-enabled", value] if int(self.properties["ro.build.version.sdk"]) >= 30:
                self.fixed_performance = value == "true"
                return Answer()
        return _unknown(words)

    def _thermalservice(self, words: list[str]) -> Answer:
        match words:
            case ["override-status", value] if re.fullmatch("[0-6]", value):
                self.faked_status = int(value)
                return Answer()
            case ["reset"]:
                self.faked_status = None
                return Answer()
        return _unknown(words)

    def _connectivity(self, words: list[str]) -> Answer:
        on = self.settings.get("global", {}).get("airplane_mode_on", "0") == "1"
        match words:
            case ["airplane-mode"]:
                return Answer("enabled\n" if on else "disabled\n")
            case ["airplane-mode", "enable" | "disable" as verb]:
                self.settings.setdefault("global", {})["airplane_mode_on"] = "1" if verb == "enable" else "0"
                return Answer()
        return _unknown(words)

    def _deviceidle(self, words: list[str]) -> Answer:
        match words:
            case ["enable" | "disable" as verb, *rest]:
                self.idle_enabled = verb == "enable"
                which = {"light": ("Light",), "deep": ("Deep",)}.get(rest[0] if rest else "all", ("Deep", "Light"))
                return Answer("".join(f"{kind} idle mode {verb}d\n" for kind in which))
            case ["enabled", *_]:
                return Answer(f"{int(self.idle_enabled)}\n")
            case ["get", "deep" | "light"]:
                return Answer("ACTIVE\n")
        return _unknown(words)

    def _svc(self, words: list[str]) -> Answer:
        match words:
            case ["power", "stayon", value] if value in ("true", "false", "usb", "ac", "wireless", "dock"):
                bits = {"true": "15", "false": "0", "ac": "1", "usb": "2", "wireless": "4", "dock": "8"}[value]
                self.settings.setdefault("global", {})["stay_on_while_plugged_in"] = bits
                return Answer()
            case ["wifi" | "data" | "bluetooth", "enable" | "disable"]:
                return Answer()
        return Answer("Available commands:\n    power\n    data\n    wifi\n    bluetooth\n", 0)

    def _input(self, words: list[str]) -> Answer:
        match words:
            case ["keyevent", key]:
                self.awake = {
                    "KEYCODE_WAKEUP": True,
                    "224": True,
                    "KEYCODE_SLEEP": False,
                    "223": False,
                    "KEYCODE_POWER": not self.awake,
                    "26": not self.awake,
                }.get(key, self.awake)
                return Answer()
            case ["tap" | "swipe" | "text", *_]:
                return Answer()
        return Answer("Usage: input [<source>] <command> [<arg>...]\n", 255, failed=True)

    def _pm(self, words: list[str]) -> Answer:
        match words:
            case ["list", "packages", *_]:
                return Answer("package:android\npackage:com.android.settings\npackage:com.android.shell\n")
            case ["path", "android"]:
                return Answer("package:/system/framework/framework-res.apk\n")
            case ["path", _]:
                return Answer("", 1)
        return _unknown(words)

    def _am(self, words: list[str]) -> Answer:
        match words:
            case ["force-stop" | "kill", _] | ["kill-all"]:
                return Answer()
            case ["get-current-user"]:
                return Answer("0\n")
        return _unknown(words)

    def _wm(self, words: list[str]) -> Answer:
        match words:
            case ["size"]:
                return Answer("Physical size: 1080x2340\n")
            case ["density"]:
                return Answer("Physical density: 480\n")
            case ["dismiss-keyguard"]:
                return Answer()
        return _unknown(words)

    # small programs

    def _getconf(self, words: list[str]) -> Answer:
        known = {"PAGE_SIZE": self.page_bytes, "PAGESIZE": self.page_bytes, "CLK_TCK": 100}
        known |= {"_NPROCESSORS_CONF": self.cpus, "_NPROCESSORS_ONLN": self.cpus}
        if len(words) == 1 and words[0] in known:
            return Answer(f"{known[words[0]]}\n")
        return Answer(f"getconf: bad '{' '.join(words)}'\n", 1, failed=True)

    def _uname(self, words: list[str]) -> Answer:
        parts = {
            "s": "Linux",
            "n": "localhost",
            "r": self.profile.kernel,
            "v": "#1 SMP PREEMPT",
            "m": "aarch64" if self.properties["ro.product.cpu.abi"] == "arm64-v8a" else "x86_64",
            "o": "Android",
        }
        wanted = "".join(word.lstrip("-") for word in words) or "s"
        wanted = "".join(parts) if "a" in wanted else wanted
        if unknown := [letter for letter in wanted if letter not in parts]:
            return Answer(f"uname: Unknown option '{unknown[0]}' (see \"uname --help\")\n", 1, failed=True)
        return Answer(" ".join(text for letter, text in parts.items() if letter in wanted) + "\n")

    def _id(self, words: list[str]) -> Answer:
        text = "uid=2000(shell) gid=2000(shell) groups=2000(shell),3012(readtracefs) context=u:r:shell:s0"
        return Answer({"-u": "2000", "-g": "2000", "-un": "shell", "-gn": "shell"}.get("".join(words), text) + "\n")

    def _whoami(self, _words: list[str]) -> Answer:
        return Answer("shell\n")

    def _getenforce(self, _words: list[str]) -> Answer:
        return Answer("Enforcing\n")

    def _logcat(self, _words: list[str]) -> Answer:
        return Answer("--------- beginning of main\n")


def _unknown(words: Sequence[str]) -> Answer:
    return Answer(f"Unknown command: {' '.join(words[:1])}\n", 255, failed=True)
