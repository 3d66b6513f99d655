"""An MCP server of few lines, which shows that a program of a derived image runs."""
import json
import sys

for line in sys.stdin:
    request = json.loads(line)
    if "id" not in request:
        continue
    result = error = None
    match request["method"]:
        case "initialize":
            version = request["params"]["protocolVersion"]
            result = {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {"name": "derived", "version": "1"}}
        case "tools/list":
            result = {"tools": [{"name": "version", "inputSchema": {"type": "object"}}]}
        case "tools/call":
            result = {"content": [{"type": "text", "text": "Python " + sys.version}]}
        case _:
            error = {"code": -32601, "message": "unknown"}
    answer = {"jsonrpc": "2.0", "id": request["id"]}
    answer.update({"result": result} if error is None else {"error": error})
    print(json.dumps(answer), flush=True)
