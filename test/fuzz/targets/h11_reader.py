# Reads requests with h11: a line of JSON with bytes (one a character) in, a line with what was read out.
import json, sys
import h11

def read(text):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
    messages = []
    try:
        connection.receive_data(text.encode('latin-1'))
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA or event is h11.PAUSED:
                if event is h11.PAUSED and connection.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY, h11.IDLE) \
                        and connection.their_state is h11.DONE:
                    connection.send(h11.Response(status_code=200, headers=[('content-length', '0')]))
                    connection.send(h11.EndOfMessage())
                    if connection.our_state is h11.MUST_CLOSE: break
                    connection.start_next_cycle()
                    continue
                break
            if type(event) is h11.Request:
                messages.append({'line': event.method.decode('latin-1') + ' ' + event.target.decode('latin-1'), 'body': '', 'whole': False})
            elif type(event) is h11.Data:
                messages[-1]['body'] += bytes(event.data).decode('latin-1')
            elif type(event) is h11.EndOfMessage:
                messages[-1]['whole'] = True
                connection.send(h11.Response(status_code=200, headers=[('content-length', '0')]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is not h11.DONE: break
                connection.start_next_cycle()
            elif type(event) is h11.ConnectionClosed:
                break
    except h11.ProtocolError as error:
        return {'messages': messages, 'error': str(error)}
    return {'messages': messages, 'error': None}

for line in sys.stdin:
    print(json.dumps(read(json.loads(line))), flush=True)
