"""A real RTSP server, GStreamer's: a bouncing ball in H.264 at rtsp://127.0.0.1:PORT/cam.

    /usr/bin/python3 tests/rtsp_server.py PORT [USER PASSWORD]

Says `ready` when it listens. It runs under the system's Python, whose gi knows GStreamer; `usable` tells whether that
has what is needed."""

from __future__ import annotations

import subprocess
import sys

PYTHON = "/usr/bin/python3"
PACKAGES = "gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly"
SIZE_WH, FPS = (320, 240), 25
PIPELINE = (
    f"( videotestsrc is-live=true pattern=ball ! video/x-raw,width={SIZE_WH[0]},height={SIZE_WH[1]},framerate={FPS}/1 "
    f"! x264enc tune=zerolatency speed-preset=ultrafast key-int-max={FPS} ! rtph264pay name=pay0 pt=96 )"
)


def usable() -> bool:
    try:
        return subprocess.run([PYTHON, __file__], capture_output=True, check=False, timeout=30).returncode == 0
    except OSError:
        return False


def main(words: list[str]) -> int:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    parts = ("videotestsrc", "x264enc", "rtph264pay")
    if not words:
        return 0 if all(Gst.ElementFactory.find(part) for part in parts) else 1
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(words[0])
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(PIPELINE)
    factory.set_shared(True)
    if words[1:]:
        _protect(GstRtspServer, server, factory, *words[1:])
    server.get_mount_points().add_factory("/cam", factory)
    server.attach(None)
    print("ready", flush=True)
    GLib.MainLoop().run()
    return 0


def _protect(library, server, factory, user: str, password: str) -> None:
    auth = library.RTSPAuth()
    token = library.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(library.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = library.RTSPPermissions()
    for permission in ("media.factory.access", "media.factory.construct"):
        permissions.add_permission_for_role("user", permission, True)
    factory.set_permissions(permissions)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
