-- What the DAW scripts share: command lines, JSON lines, progress, sample arithmetic, WAV files. Knows no DAW.
--
-- Pure Lua 5.3: runs alone, and is tested alone (tests/test_bridge_scripts.py).

local sa3 = {}

-- Numbers -----------------------------------------------------------------------------------------------------

--- To the nearest whole number, halves up, as the daemon's timeline rounds.
function sa3.round_half_up(value)
    return math.floor(value + 0.5)
end

--- The half-open sample range of [start, end) seconds; each edge is rounded once, so neighbours tile.
function sa3.range_samples(start_seconds, end_seconds, sample_rate)
    local first = sa3.round_half_up(start_seconds * sample_rate)
    return first, sa3.round_half_up(end_seconds * sample_rate) - first
end

--- Where [a_start, a_end) and [b_start, b_end) overlap; nil where they do not.
function sa3.overlap(a_start, a_end, b_start, b_end)
    local first, last = math.max(a_start, b_start), math.min(a_end, b_end)
    if first < last then return first, last end
end

--- The bar, counted from 1, as an exact fraction for --start-bar: `ticks` from the origin, `ticks_per_quarter` each.
function sa3.start_bar(ticks, ticks_per_quarter, numerator, denominator)
    local ticks_per_bar = ticks_per_quarter * 4 * numerator // denominator
    return string.format("%d/%d", math.max(0, ticks) + ticks_per_bar, ticks_per_bar)
end

--- Seventeen digits carry a double exactly.
function sa3.number_text(value)
    local text = string.format("%.17g", value)
    for digits = 1, 16 do
        local shorter = string.format("%." .. digits .. "g", value)
        if tonumber(shorter) == value then text = shorter break end
    end
    if text:find("e") then text = string.format("%.12f", value) end
    return text
end

--- The steps of a tempo map over [edges[1], edges[#edges]), in the DAW's own unit of time, between which the tempo is even.
-- `quarters_at` and `metre_at` tell the song's place and metre, `bpm_between` the tempo; the range begins at `start_ppq` in
-- the map.
function sa3.tempo_points(edges, start_ppq, quarters_at, metre_at, bpm_between)
    local points = {}
    for index = 1, #edges - 1 do
        local from, to = edges[index], edges[index + 1]
        local numerator, denominator = metre_at(from)
        points[index] = {
            position_ppq = index == 1 and 0 or start_ppq + quarters_at(from) - quarters_at(edges[1]),
            bpm = bpm_between(from, to),
            numerator = numerator,
            denominator = denominator,
        }
    end
    return points
end

--- The points as the file that --tempo-map takes.
function sa3.tempo_map_json(points)
    local texts = {}
    for index, point in ipairs(points) do
        texts[index] = string.format('{"position_ppq": %s, "bpm": %s, "numerator": %d, "denominator": %d}',
            sa3.number_text(point.position_ppq), sa3.number_text(point.bpm), point.numerator, point.denominator)
    end
    return "[" .. table.concat(texts, ",\n") .. "]\n"
end

--- Give a request its tempo map in a file beside `base`, where the map is more than one tempo.
function sa3.give_tempo_map(request, base, points)
    if #points == 1 then return end
    local path = sa3.job_files(base).tempo
    local file = io.open(path, "wb")
    if not file then return end  -- the job's own files cannot be written either, which is told then
    file:write(sa3.tempo_map_json(points))
    file:close()
    request.tempo_map = path
end

-- Command lines -----------------------------------------------------------------------------------------------

local function add_recipe(words, request)
    local function option(name, value)
        if value == nil or value == "" then return end
        local text = type(value) == "number" and sa3.number_text(value) or value
        if text:sub(1, 1) == "-" then  -- alone it would be read as an option
            words[#words + 1] = name .. "=" .. text
        else
            words[#words + 1] = name
            words[#words + 1] = text
        end
    end
    option("--prompt", request.prompt)
    option("--negative-prompt", request.negative_prompt)
    option("--guidance", request.guidance)
    option("--model", request.model)
    option("--seed", request.seed)
    if request.tempo_map then
        option("--tempo-map", request.tempo_map)
    else
        option("--bpm", request.bpm)
        option("--meter", request.numerator and string.format("%d/%d", request.numerator, request.denominator))
    end
    option("-o", request.output)
    words[#words + 1] = "--json"
    return words
end

--- The words of `sa3-daw generate` for an exact length at an exact rate.
function sa3.generate_words(request)
    local words = { request.program or "sa3-daw", "generate" }
    words[#words + 1] = "--samples"
    words[#words + 1] = string.format("%d", request.num_samples)
    words[#words + 1] = "--rate"
    words[#words + 1] = string.format("%d", request.sample_rate)
    if request.start_bar then
        words[#words + 1] = "--start-bar"
        words[#words + 1] = request.start_bar
    end
    return add_recipe(words, request)
end

--- The words of `sa3-daw inpaint`; request.regions is a list of {start_sample, end_sample} within the file.
function sa3.inpaint_words(request)
    local words = { request.program or "sa3-daw", "inpaint", request.input }
    for _, region in ipairs(request.regions) do
        words[#words + 1] = "--region"
        words[#words + 1] = string.format("%d:%d", region[1], region[2])
    end
    return add_recipe(words, request)
end

--- Quote a word for /bin/sh.
function sa3.quote(word)
    return "'" .. word:gsub("'", "'\\''") .. "'"
end

--- Quote a word for a Windows command line. cmd expands % inside quotes too and offers no escape: it is taken out.
function sa3.quote_windows(word)
    return '"' .. word:gsub('[%%"\r\n]', "") .. '"'
end

--- The files by which a command in the background is followed; `base` is a path without extension.
function sa3.job_files(base)
    return {
        start = base .. ".start.sh", stop = base .. ".stop.sh", log = base .. ".jsonl", errors = base .. ".err",
        pid = base .. ".pid", code = base .. ".code", tempo = base .. ".tempo.json",
    }
end

--- A /bin/sh script that runs the words in the background and leaves its traces in `files`.
function sa3.shell_script(words, files)
    local quoted = {}
    for i, word in ipairs(words) do quoted[i] = sa3.quote(word) end
    -- Hosts started from a desktop often have a bare PATH.
    return string.format(
        'PATH="$PATH:$HOME/.local/bin:/usr/local/bin:/opt/homebrew/bin"; %s </dev/null >%s 2>%s & echo $! >%s; wait $!; echo $? >%s',
        table.concat(quoted, " "), sa3.quote(files.log), sa3.quote(files.errors), sa3.quote(files.pid),
        sa3.quote(files.code)
    )
end

--- The same for cmd.exe.
function sa3.windows_script(words, files)
    local quoted = {}
    for i, word in ipairs(words) do quoted[i] = sa3.quote_windows(word) end
    return string.format('%s <nul >%s 2>%s & call echo %%^errorlevel%% >%s', table.concat(quoted, " "),
        sa3.quote_windows(files.log), sa3.quote_windows(files.errors), sa3.quote_windows(files.code))
end

--- A /bin/sh script that stops the command of `files`; the daemon cancels the job of a client that has gone.
function sa3.stop_script(files)
    return "kill -TERM $(cat " .. sa3.quote(files.pid) .. ")"
end

function sa3.read_file(path)
    local file = io.open(path, "rb")
    if not file then return nil end
    local content = file:read("a")
    file:close()
    return content
end

function sa3.remove_files(files)
    for _, path in pairs(files) do os.remove(path) end
end

-- JSON --------------------------------------------------------------------------------------------------------

local ESCAPES = { b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", ['"'] = '"', ["\\"] = "\\", ["/"] = "/" }
local decode_value

local function skip(text, at)
    return text:find("[^ \t\r\n]", at) or #text + 1
end

local function decode_string(text, at)
    local parts, from = {}, at + 1
    while true do
        local stop = text:find('["\\]', from)
        if not stop then error("a text has no end") end
        parts[#parts + 1] = text:sub(from, stop - 1)
        if text:sub(stop, stop) == '"' then return table.concat(parts), stop + 1 end
        local letter = text:sub(stop + 1, stop + 1)
        if letter == "u" then
            local code, next_at = tonumber(text:sub(stop + 2, stop + 5), 16), stop + 6
            if code and code >= 0xD800 and code < 0xDC00 then
                local low = tonumber(text:match("^\\u(%x%x%x%x)", next_at) or "", 16)
                if low then code, next_at = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00), next_at + 6 end
            end
            parts[#parts + 1] = utf8.char(code or 0xFFFD)
            from = next_at
        else
            parts[#parts + 1] = ESCAPES[letter] or error("an unknown escape")
            from = stop + 2
        end
    end
end

local function decode_list(text, at)
    local list = {}
    at = skip(text, at + 1)
    if text:sub(at, at) == "]" then return list, at + 1 end
    while true do
        list[#list + 1], at = decode_value(text, at)
        at = skip(text, at)
        local mark = text:sub(at, at)
        if mark == "]" then return list, at + 1 end
        if mark ~= "," then error("a list has no end") end
        at = at + 1
    end
end

local function decode_object(text, at)
    local object = {}
    at = skip(text, at + 1)
    if text:sub(at, at) == "}" then return object, at + 1 end
    while true do
        at = skip(text, at)
        if text:sub(at, at) ~= '"' then error("a key is no text") end
        local key
        key, at = decode_string(text, at)
        at = skip(text, at)
        if text:sub(at, at) ~= ":" then error("a key has no value") end
        object[key], at = decode_value(text, at + 1)
        at = skip(text, at)
        local mark = text:sub(at, at)
        if mark == "}" then return object, at + 1 end
        if mark ~= "," then error("an object has no end") end
        at = at + 1
    end
end

function decode_value(text, at)
    at = skip(text, at)
    local mark = text:sub(at, at)
    if mark == "{" then return decode_object(text, at) end
    if mark == "[" then return decode_list(text, at) end
    if mark == '"' then return decode_string(text, at) end
    for word, value in pairs({ ["true"] = true, ["false"] = false }) do
        if text:sub(at, at + #word - 1) == word then return value, at + #word end
    end
    if text:sub(at, at + 3) == "null" then return nil, at + 4 end
    local number = text:match("^-?%d+%.?%d*[eE]?[+-]?%d*", at)
    if not number then error("not JSON") end
    return tonumber(number), at + #number
end

--- Decode one JSON value (null becomes nil); nil and the reason when it is none.
function sa3.decode_json(text)
    local fine, value = pcall(decode_value, text, 1)
    if fine then return value end
    return nil, value
end

-- Progress ----------------------------------------------------------------------------------------------------

local Progress = {}
Progress.__index = Progress

--- What the --json lines of one command have told so far.
function sa3.new_progress()
    return setmetatable({ share = 0, text = "starting", written = {}, state = "running", num_read = 0 }, Progress)
end

--- Take everything the log holds now (the whole of it, however often); lines still being written are left for later.
function Progress:feed(log)
    while true do
        local stop = log:find("\n", self.num_read + 1, true)
        if not stop then return end
        local event = sa3.decode_json(log:sub(self.num_read + 1, stop - 1))
        self.num_read = stop
        if type(event) == "table" and event.event then self:event(event) end
    end
end

function Progress:event(event)
    if event.event == "accepted" then
        self.text = event.position > 0 and "waiting" or "accepted"
    elseif event.event == "progress" then
        self.text = event.stage
        local done = event.num_steps > 0 and event.step / event.num_steps or 0
        if event.stage == "sampling" then self.share = math.max(self.share, 0.8 * done) end
    elseif event.event == "audio" then
        self.text, self.share = "writing audio", math.max(self.share, 0.85)
    elseif event.event == "written" then
        self.written[#self.written + 1] = event.path
        self.share = 1
    elseif event.event == "failed" then
        self.reason = event.message
    elseif event.event == "cancelled" then
        self.was_cancelled = true
    end
end

--- Take the exit code once the command has ended; `errors` is what it said on standard error.
function Progress:ended(code, errors)
    if self.state ~= "running" then return end
    if code == 0 and #self.written > 0 then
        self.state, self.text = "done", "done"
    elseif self.was_cancelled then
        self.state, self.text = "cancelled", "The job was cancelled on the daemon; nothing was written."
    elseif code == 127 or code == 9009 then  -- of sh and of cmd.exe
        self.state, self.text = "failed", "sa3-daw was not found; install it where a shell finds it, or in ~/.local/bin"
    else
        local last = (errors or ""):match("([^\n]+)\n*$")
        self.state, self.text = "failed", self.reason or last or string.format("sa3-daw ended with code %d", code)
    end
end

--- Read the traces of a running command; returns self.
function Progress:look(files)
    self:feed(sa3.read_file(files.log) or "")
    local code = tonumber(sa3.read_file(files.code) or "")
    if code then
        self:feed(sa3.read_file(files.log) or "")
        self:ended(code, sa3.read_file(files.errors))
    end
    return self
end

-- WAV ---------------------------------------------------------------------------------------------------------

--- Write a 32-bit float WAV file. read(channel, start, count) returns a list of `count` samples, counted from 0.
function sa3.write_wav(path, num_channels, num_samples, sample_rate, read)
    local file, problem = io.open(path, "wb")
    if not file then return nil, problem end
    local num_bytes = 4 * num_channels * num_samples
    file:write("RIFF", string.pack("<I4", 36 + num_bytes), "WAVEfmt ",
        string.pack("<I4I2I2I4I4I2I2", 16, 3, num_channels, sample_rate, 4 * num_channels * sample_rate,
            4 * num_channels, 32),
        "data", string.pack("<I4", num_bytes))
    local start = 0
    while start < num_samples do
        local count = math.min(4096, num_samples - start)
        local channels, packed = {}, {}
        for channel = 1, num_channels do channels[channel] = read(channel - 1, start, count) end
        for i = 1, count do
            for channel = 1, num_channels do
                packed[#packed + 1] = string.pack("<f", channels[channel][i])
            end
        end
        file:write(table.concat(packed))
        start = start + count
    end
    local fine, reason = file:close()
    return fine, reason
end

-- REAPER's razor edits ----------------------------------------------------------------------------------------

--- The areas of a track's P_RAZOREDITS text as {start, end} in seconds; those of envelopes are left out.
function sa3.razor_areas(text)
    local areas = {}
    for first, last, guid in text:gmatch('(%S+)%s+(%S+)%s+"([^"]*)"') do
        if guid == "" and tonumber(first) and tonumber(last) then
            areas[#areas + 1] = { tonumber(first), tonumber(last) }
        end
    end
    return areas
end

return sa3
