"""What phones print, in the shapes that were seen, with values of our own; and the real samples where they are."""

from __future__ import annotations

from pathlib import Path

REAL = Path(__file__).parents[5] / "shared" / "device-samples"

GETPROP = """[persist.sys.boot.reason.history]: [reboot,1700000001
cold,1700000000]
[ro.build.characteristics]: [nosdcard]
[ro.build.fingerprint]: [acme/rocket/rocket:14/AB1.240101.001/7:user/release-keys]
[ro.build.version.release]: [14]
[ro.hardware]: [acme]
[ro.hardware.egl]: [mali]
[ro.kernel.qemu]: []
[ro.product.cpu.abilist]: [arm64-v8a,armeabi-v7a]
[ro.product.model]: [Rocket 9]
[ro.soc.manufacturer]: [Acme]
[ro.soc.model]: [AC900]
"""

BATTERY = """Current Battery Service state:
  AC powered: false
  USB powered: false
  Wireless powered: false
  Max charging current: 0
 Time when the latest updated value of the voltage was sent via battery changed broadcast: 0
  Charge counter: 2750000
  status: 3
  health: 2
  present: true
  level: 61
  scale: 100
  voltage: 3911
  temperature: 287
  technology: Li-ion
  current now: -412
  charge counter: 1
FEATURE_SOMETHING: true

[EventLogBuffer]
  voltage: 9999
"""

THERMAL = """IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
Thermal Status: 1
Cached temperatures:
\tTemperature{mValue=71.5, mType=0, mName=BIG, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL AIDL 2  connected: yes
Current temperatures from HAL:
\tTemperature{mValue=44.25, mType=0, mName=BIG, mStatus=0}
  Temperature{mValue=39.0, mType=0, mName=LITTLE, mStatus=0}
Temperature{mValue=33.1, mType=3, mName=VIRTUAL-SKIN, mStatus=1}
\tTemperature{mValue=28.9, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=3.9, mType=6, mName=vbat, mStatus=0}
\tTemperature{mValue=NaN, mType=1, mName=GPU, mStatus=0}
\tTemperature{mValue=s, mType=9, mName=NPU, mStatus=0}
\tTemperature{mValue=30.0, mType=4, mName=USB}
Current cooling devices from HAL:
\tCoolingDevice{mValue=2, mType=2, mName=thermal-cpufreq-7}
\tCoolingDevice{mValue=0, mType=3, mName=thermal-gpu}
Temperature static thresholds from HAL:
\tTemperatureThreshold{mType=3, mName=VIRTUAL-SKIN}
"""

CPUFREQ = "".join(f"cpu{cpu} {khz}\n" for cpu, khz in enumerate([1_800_000] * 4 + [2_400_000] * 3 + [3_000_000]))

CPUINFO = "".join(f"processor\t: {cpu}\nBogoMIPS\t: 38.40\nCPU part\t: 0xd05\n\n" for cpu in range(8))

MEMINFO = "MemTotal:        7812345 kB\nMemFree:          312345 kB\n"

ODPM = """t=2000500
CH0(T=2000500)[VSYS_DISPLAY], 5000000
CH1(T=2000500)[VDD_CPU], 7500000
"""

ROLLUP = """55d0c8a000-7ffd8b9c000 ---p 00000000 00:00 0    [rollup]
Rss:               20480 kB
Pss:               10240 kB
Pss_Anon:           9000 kB
SwapPss:             512 kB
"""

MEMINFO_OF_PROCESS = """** MEMINFO in pid 4242 [org.example] **
        TOTAL     3000      100      100      1000     9000
           TOTAL PSS:     3000            TOTAL RSS:     9000       TOTAL SWAP PSS:     1000
"""

DEVICES = """* daemon not running; starting now at tcp:5999
* daemon started successfully
List of devices attached
ABCDEF0123             device usb:1-4 product:rocket model:Rocket_9 device:rocket transport_id:7
10.1.2.3:5555          offline transport_id:8
FEDCBA3210             no permissions (user in plugdev group; are your udev rules wrong?); see [http://x] usb:1-5
"""

PERFETTO = "1500000000 | batt.current_ua | -250000\n1600000000 | batt.charge_uah | 2085000\n"

HISTORY = (
    "[BattActionChangedLogBuffer]\n"
    "03-14 15:09:26.535  Sending ACTION_BATTERY_CHANGED: level:61, status:3, voltage:3911, temperature:287, "
    "current_avg:-412, cc:2750000, present:true\n"
    "03-14 15:09:56.535  Sending ACTION_BATTERY_CHANGED: level:61, status:3\n"
)

EVERYTHING = (
    GETPROP, BATTERY, THERMAL, CPUFREQ, CPUINFO, MEMINFO, ODPM, ROLLUP, MEMINFO_OF_PROCESS, DEVICES, PERFETTO, HISTORY,
    "-411000\n", "3911000\n",
)  # fmt: skip

DENIED = "cat: /sys/class/power_supply/battery/current_now: Permission denied\n"
