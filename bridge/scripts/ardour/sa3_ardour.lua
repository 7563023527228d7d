-- What both Ardour scripts do with a session: ask it for tempo and metre, run sa3-daw beside it, import. Knows no dialog
-- but the progress window.

return function(sa3)
    local ardour = {}
    local TICKS_PER_QUARTER = 1920
    local SHORTEST_NOTE_TICKS = TICKS_PER_QUARTER * 4 // 32  -- bars begin on multiples of it
    local SHORTEST_STEP_SECONDS, MOST_STEPS = 0.25, 100
    local PAUSE_US = 50000

    local function at(ticks) return Temporal.timepos_t.from_ticks(ticks) end
    --- Just after a place: at the very place of a change Ardour still tells what was before.
    local function after(ticks) return at(ticks + 1) end

    local function metre_after(map, ticks)
        local metre = map:meter_at(after(ticks))
        return math.tointeger(metre:divisions_per_bar()), math.tointeger(metre:note_value())
    end

    local function seconds_between(from, to, rate)
        return (at(to):samples() - at(from):samples()) / rate
    end

    local function is_slope(map, from, to)
        return map:quarters_per_minute_at(after(from)) ~= map:quarters_per_minute_at(at(to - 1))
    end

    --- Where tempo or metre change inside [first, last), both ends with them, in ticks; a slope changes in many small steps.
    local function tempo_edges(map, first, last, rate)
        local is_edge = { [first] = true, [last] = true }
        local step = math.max(SHORTEST_STEP_SECONDS, seconds_between(first, last, rate) / MOST_STEPS)
        local to = last
        while to > first do
            local from = math.max(first, map:tempo_at(at(to - 1)):time():ticks())
            local num_steps = is_slope(map, from, to) and math.ceil(seconds_between(from, to, rate) / step) or 1
            for number = 0, num_steps - 1 do
                is_edge[sa3.round_half_up(from + (to - from) * number / num_steps)] = true
            end
            to = from
        end
        local numerator, denominator = metre_after(map, first)
        for ticks = first - first % SHORTEST_NOTE_TICKS + SHORTEST_NOTE_TICKS, last - 1, SHORTEST_NOTE_TICKS do
            local next_numerator, next_denominator = metre_after(map, ticks)
            if next_numerator ~= numerator or next_denominator ~= denominator then is_edge[ticks] = true end
            numerator, denominator = next_numerator, next_denominator
        end
        local edges = {}
        for edge in pairs(is_edge) do edges[#edges + 1] = edge end
        table.sort(edges)
        return edges
    end

    --- Everything of a request that the session knows about [first, last), in samples, but its changes of tempo; and where
    -- the range begins, in quarters from the first bar. Bars are Ardour's own, so a downbeat stays one after a change of metre.
    function ardour.request(session, first, last)
        local map, ticks = Temporal.TempoMap.read(), math.tointeger(Temporal.timepos_t(first):ticks())
        local numerator, denominator = metre_after(map, ticks)
        local bbt, ticks_per_beat = map:bbt_at(at(ticks)), 4 * TICKS_PER_QUARTER // denominator
        local start_ticks = math.tointeger(((bbt.bars - 1) * numerator + bbt.beats - 1) * ticks_per_beat + bbt.ticks)
        return {
            num_samples = last - first,
            sample_rate = math.tointeger(session:nominal_sample_rate()),
            bpm = map:quarters_per_minute_at(after(ticks)),
            numerator = numerator,
            denominator = denominator,
            start_bar = sa3.start_bar(start_ticks, TICKS_PER_QUARTER, numerator, denominator),
        }, start_ticks / TICKS_PER_QUARTER
    end

    --- Give a request the session's tempo map over [first, last), where that changes; the range begins at `start_ppq` in it.
    function ardour.follow_tempo(request, base, first, last, start_ppq)
        local map, rate = Temporal.TempoMap.read(), request.sample_rate
        local first_ticks, last_ticks = Temporal.timepos_t(first):ticks(), Temporal.timepos_t(last):ticks()
        local function quarters_at(ticks) return ticks / TICKS_PER_QUARTER end
        local function metre_at(ticks) return metre_after(map, ticks) end
        local function bpm_between(from, to)
            if not is_slope(map, from, to) then return map:quarters_per_minute_at(after(from)) end
            return 60 * quarters_at(to - from) / seconds_between(from, to, rate)
        end
        local edges = tempo_edges(map, math.tointeger(first_ticks), math.tointeger(last_ticks), rate)
        sa3.give_tempo_map(request, base, sa3.tempo_points(edges, start_ppq, quarters_at, metre_at, bpm_between))
    end

    --- The loop range in samples; nil when there is none.
    function ardour.loop_range(session)
        local loop = session:locations():auto_loop_location()
        if loop and loop:start():samples() < loop:_end():samples() then
            return loop:start():samples(), loop:_end():samples()
        end
    end

    --- A path without extension inside the session, not used yet.
    function ardour.new_base(session)
        local folder = session:path() .. "/sa3"
        os.execute("mkdir -p " .. sa3.quote(folder))
        local stamp = os.date("%Y%m%d-%H%M%S")
        for number = 1, 1000 do
            local base = string.format("%s/take-%s-%d", folder, stamp, number)
            if not sa3.read_file(base .. ".wav") and not sa3.read_file(base .. ".jsonl") then return base end
        end
    end

    --- Run the words beside Ardour; the window stays alive and its button stops the command.
    function ardour.run(words, base, title)
        local files, progress = sa3.job_files(base), sa3.new_progress()
        os.forkexec("/bin/sh", "-c", sa3.shell_script(words, files))
        local window = LuaDialog.ProgressWindow(title, true)
        local stop_asked = false
        while progress:look(files).state == "running" do
            -- The window reports its button as cancelled.
            if window:canceled() and not stop_asked and sa3.read_file(files.pid) then
                stop_asked = true
                os.forkexec("/bin/sh", "-c", sa3.stop_script(files))
            end
            window:progress(progress.share, progress.text)
            ARDOUR.LuaAPI.usleep(PAUSE_US)
        end
        window:done()
        if progress.state ~= "done" then progress.state = stop_asked and "cancelled" or "failed" end
        sa3.remove_files(files)
        return progress
    end

    --- Write what a region plays, its gain apart, as a float WAV file.
    function ardour.write_region(region, path, sample_rate)
        local readable = region:to_readable()
        local memory = ARDOUR.DSP.DspShm(8192)
        local function read(channel, start, count)
            readable:read(memory:to_float(0), start, count, channel)
            return memory:to_float(0):get_table(count)
        end
        local num_channels = math.min(2, readable:n_channels())
        return sa3.write_wav(path, num_channels, readable:readable_length(), math.tointeger(sample_rate), read)
    end

    --- Put files at an exact sample: on the selected track, or on a new one.
    function ardour.import(paths, first)
        local files = C.StringVector()
        for _, path in ipairs(paths) do files:push_back(path) end
        local has_track = false
        for _ in Editor:get_selection().tracks:routelist():iter() do has_track = true end
        Editor:do_import(files, Editing.ImportDistinctFiles,
            has_track and Editing.ImportToTrack or Editing.ImportAsTrack, ARDOUR.SrcQuality.SrcBest,
            ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
            Temporal.timepos_t(first), ARDOUR.PluginInfo(), ARDOUR.Track(), false)
    end

    return ardour
end
