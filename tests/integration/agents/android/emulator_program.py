"""A stand-in for the SDK's ``emulator`` at the level of its protocols: arguments, ports, console with its token.

Behaviour by the AVD's name: ``slow`` never boots, ``broken`` ends at once, ``deaf`` has no console.
"""

import os
import socket
import sys
import threading
import time
from pathlib import Path

HOME = Path(os.environ["HOME"])
arguments = sys.argv[1:]
if arguments == ["-list-avds"]:
    print("INFO    | Storing crashdata in: /tmp/android")
    print("pixel\nslow\nbroken\ndeaf")
    sys.exit(0)

avd = arguments[arguments.index("-avd") + 1]
port = int(arguments[arguments.index("-port") + 1])
with (HOME / "said.txt").open("a") as said:
    said.write(" ".join(arguments) + f" adb={os.environ['ANDROID_ADB_SERVER_PORT']}\n")
if avd == "broken":
    print("ERROR   | x86_64 emulation currently requires hardware acceleration!")
    sys.exit(1)
if avd != "deaf":
    (HOME / ".emulator_console_auth_token").write_text("secret")
    # The adb port is held too, as qemu does.
    adb = socket.create_server(("127.0.0.1", port + 1))
    console = socket.create_server(("127.0.0.1", port))


def serve(link: socket.socket) -> None:
    with link, link.makefile("rw", newline="") as stream:

        def say(text: str) -> None:
            stream.write(text + "\r\n")
            stream.flush()

        say("Android Console: Authentication required")
        say("Android Console: type 'auth <auth_token>' to authenticate")
        say("OK")
        known = False
        for line in stream:
            word = line.strip()
            if word == "auth secret":
                known = True
                say("Android Console: type 'help' for a list of commands")
                say("OK")
            elif not known:
                say("KO: unknown command, try 'help'")
            elif word == "avd snapshot load clean":
                (HOME / "restored.txt").write_text(avd)
                say("OK")
            elif word.startswith("avd snapshot load"):
                say("KO: Failed to load snapshot")
            elif word == "kill":
                say("OK: killing emulator, bye bye")
                os._exit(0)


if avd != "deaf":
    while True:
        link, _ = console.accept()
        threading.Thread(target=serve, args=(link,), daemon=True).start()
while True:
    time.sleep(1)
