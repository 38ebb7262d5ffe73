"""The demo's grammar, written by hand: fillers, frames and style. `generate_demo.py` fills it in.

Its small notation:

* ``{slot}`` is replaced with a filler from SLOTS, PHRASES or the command lists; no filler is used
  twice in one row;
* ``[a|b|]`` is replaced with one of the alternatives, the last of which is empty here;
* a leading ``+`` marks a command, which may take "can you", "please" and the like in front;
* in pair frames ``<1>`` and ``<2>`` are two phrases, which are swapped in the second row.

One filler in seven of every slot is held out of the training split.
"""

from __future__ import annotations

import re

LABELS = (
    "set_alarm",
    "set_timer",
    "set_reminder",
    "play_music",
    "send_message",
    "make_call",
    "get_weather",
    "lights_on",
    "lights_off",
    "get_directions",
    "translate",
    "cancel",
)


def _lines(block: str) -> list[str]:
    return [line.strip() for line in block.strip().splitlines()]


def _items(block: str) -> list[str]:
    return [item.strip() for item in re.split(r"[;\n]", block) if item.strip()]


# --------------------------------------------------------------------------------------------------
# Fillers
# --------------------------------------------------------------------------------------------------

NAMES = _items("""
    Anna; Ben; Carla; Dan; Elena; Farid; Gina; Hugo; Ines; Jonas; Keiko; Liam; Maya; Nora; Omar
    Priya; Quinn; Rosa; Sam; Tara; Umar; Vera; Wendy; Ximena; Yusuf; Zoe; Amir; Bella; Chen; Diego
    Emma; Felix; Greta; Hana; Ivan; Julia; Karim; Lena; Marco; Nina; Oscar; Paula; Ravi; Sofia; Tom
    Usha; Victor; Walter; Yara
""")

SLOTS: dict[str, list[str]] = {
    "name": NAMES,
    "who": NAMES
    + _items("""
        mom; dad; grandma; my sister; my brother; my boss; my aunt; my roommate; my uncle
        my neighbor; grandpa; my cousin; my wife; my husband; the babysitter; my landlord
    """),
    "business": _items("""
        the dentist; the bank; the school; the vet; the plumber; the pharmacy; the hotel
        the front desk; the pizza place; the insurance company; the airline; the hair salon
        the garage; the electrician; the doctor's office; the restaurant; the library; the gym
        the taxi company; the flower shop; customer service; the landlord's office
    """),
    "clock": _items("""
        six; 6 am; 6:30; half past seven; 7 in the morning; quarter to eight; five thirty; noon
        9 pm; 8:15; ten sharp; 10:15; 6:45 am; five in the morning; 7:20; eight; nine thirty
        quarter past six; 5:50 am; 8 am; seven; 4:30; 11 am; two in the afternoon; 3 pm
        twenty to nine; 9:10; 12:30; half past five; 7:05 am; eight forty five; ten to seven
    """),
    "day": _items("""
        tomorrow; on Monday; on Tuesday; on Wednesday; on Thursday; on Friday; on Saturday
        on Sunday; this weekend; next Monday; tomorrow morning; this Friday; the day after tomorrow
        next Tuesday; this Thursday
    """),
    "date": _items("""
        tomorrow; Monday; today; Wednesday; Tuesday; Friday; the weekend; tonight; Saturday; Sunday
        tomorrow morning; next week; this afternoon; Thursday; Friday night; the next three days
        Sunday morning; this evening
    """),
    "dur": _items("""
        ten minutes; 5 minutes; half an hour; 45 seconds; an hour; twenty minutes; 90 seconds
        two hours; an hour and a half; 3 min; 15 mins; 12 minutes; thirty seconds; 25 minutes
        forty minutes; eight minutes; 1 hour; a minute and a half; 18 minutes; 7 min; two minutes
        35 minutes; three hours; 50 minutes; six and a half minutes; 4 minutes; fifty seconds
    """),
    "duradj": _items("""
        ten minute; 5 minute; half hour; one hour; 30 second; 20 min; two minute; fifteen minute
        90 second; 45 minute; three minute; 8 minute; twelve minute; 25 minute; two hour; 1 minute
    """),
    "cook": _items("""
        pasta; rice; boiled egg; tea; bread; pizza; laundry; cake; workout; plank; nap; homework
        chicken; roast; soup; meditation; lasagna; quiche; face mask; yoga; stew; risotto
    """),
    "task": _items("""
        buy milk; water the plants; pay the rent; take out the trash; feed the cat
        book the tickets; pick up the parcel; take my vitamins; renew my passport; wash the car
        return the library books; charge the camera; submit the invoice; finish the report
        walk the dog; defrost the fish; bring an umbrella; back up my photos; clean the filter
        order printer ink; stretch; drink some water; check the oven; lock the back door
        sign the form; sweep the balcony; iron my shirt; print the boarding pass
        empty the dishwasher; move the car; vacuum the stairs; buy a birthday card; pack my lunch
        refill the bird feeder; fix the bike; hang up the curtains; study for the exam
        look for my glasses; sort the recycling; bake a cake; buy batteries; mow the lawn
    """),
    "thing": _items("""
        the rent; the dentist; the parcel; the school trip; the meeting; dinner; the keys; the party
        the invoice; the car; the new sofa; the recipe; the photos; the concert; the report
        the appointment; the broken fridge; the barbecue; the project; the wedding; the exam
        the flight; the tickets; the football match; the leaky tap; the groceries
        the hotel booking; the bike; the book club; the presentation; the picnic
        the garden party; the deposit
    """),
    "rwhen": _items("""
        tomorrow; at six; tonight; after lunch; in an hour; on Monday; when i get home; before bed
        at noon; later; this evening; first thing tomorrow; every morning; on Friday
        at half past four; in ten minutes; next week; on Sunday night; when i leave work
        around eight; at the end of the day; before dinner
    """),
    "song": _items("""
        Paper Lanterns; Blue Harbor; Midnight Tram; Salt and Honey; Running in Circles; Velvet Rain
        Northern Window; Copper Moon; Dust on the Radio; Slow River; Lemon Sky; Glass Orchard
        Wild Geraniums; Sunday in Tartan; Electric Garden; Cold Coffee Waltz; Small Hours
        Marble Streets; Ghost of July; Sailing Nowhere; Bright Little Fires; Hollow Bells
        Tin Roof Summer; Eleven Sparrows; Pocket Full of Winter; Orange Balcony; Ferry to Mars
        Silver Thread; Kites Over Clover; Back to the Meadow; Half a Lighthouse; Tangled Kingdom
        Blackbird Avenue; A Drawer of Maps
    """),
    "songcmd": _items("""
        Call Me From the Harbor; Set an Alarm for Sunday; Ten Minute Timer; Text Me When It Rains
        Directions to Nowhere; Lights Off in Lisbon; Never Mind the Weather; Translate My Heart
        Remind Me to Dance; Cancel the Morning; Leave the Lights On; Message in the Snow
        Turn Off the Moon; Wake Me in Winter; How Do You Say Goodbye; Stop the Clock Tonight
        Is It Raining in Heaven; Turn On the Stars; Send Me Your Sorrow; Forget the Alarm
        Take Me to the Lighthouse; Phone Call at Dawn; Set the Timer Darling; A Reminder of You
        Weather Report; Lights Out Baby; The Way to Your Door; French Lessons
    """),
    "tail": _items("""
        dance in the rain; call me in the morning; turn the lights down low; leave the city
        say goodbye; follow the river; wake the neighbors; sing in the dark; write you a letter
        wait for Sunday; set the sky on fire; stop the rain; send you roses; walk through the storm
        cancel the sunrise; climb the golden hill; count the stars; paint the town; phone the moon
        forget the past; swim to the island
    """),
    "artist": _items("""
        the Quiet Rivers; Mila Stone; the Paper Foxes; DJ Marigold; Oskar Lind; the Velvet Hours
        Juniper Lane; Tomas Grey; Saffron Club; the Night Trams; Cleo March; the Brass Owls
        Arlo Penn; Luna Field; Nine Lanterns; the Kitchen Radios; Piet Aalto; Coral Engine
    """),
    "genre": _items("""
        jazz; rock; classical music; hip hop; folk; blues; techno; reggae; country; lo-fi beats
        piano music; soul; salsa; funk; punk; opera; disco; ambient; bossa nova; flamenco
        old school rap; movie soundtracks
    """),
    "playlist": _items("""
        workout; chill; road trip; cooking; dinner; study; morning; party; running; sleep; focus
        rainy day; summer; weekend; cleaning; commute
    """),
    "msg": _items("""
        i'm running late; i'll be there in ten minutes; dinner is ready; the train is delayed
        i got the tickets; we're out of milk; the meeting moved to three; i'm on my way
        i can't make it tonight; i left the keys under the mat; the kids are asleep
        i found the charger; the parcel arrived; i'm stuck in traffic; practice ends at five
        the house is a mess; i'm at the station; we need more chairs; the car is fixed
        i finished the homework; lunch is on me; the shop was closed; i need a ride home
        the plan changed; my battery is almost dead; the soup was great; we won the game
        i'm bringing dessert
    """),
    "shout": _items("""
        happy birthday; on my way; see you soon; good luck today; be there in five; thanks a lot
        sorry i missed you; running late; sounds good; congrats; sleep well; yes to both; ok great
        can't wait; almost there
    """),
    "city": _items("""
        Lisbon; Oslo; Cairo; Boston; Madrid; Tokyo; Nairobi; Toronto; Dublin; Prague; Lima; Seoul
        Chicago; Rome; Vienna; Austin; Denver; Helsinki; Athens; Mumbai; Sydney; Zurich; Leeds
        Porto; Warsaw; Quito; Miami; Hanoi; Bergen; Montreal; Naples; Seattle
    """),
    "place": _items("""
        the train station; the airport; the museum; the nearest pharmacy; the office
        the city library; the harbor; the stadium; Elm Street; 42 Oak Avenue; the botanical garden
        the closest gas station; the town hall; the university; the movie theater; the beach
        the farmers market; the hospital; the post office; the zoo; the swimming pool
        the old bridge; the castle; the bus terminal; Maple Road; the skate park; the ferry dock
        the nearest bakery; 9 Hill Lane; the aquarium; the concert hall; the shopping mall
    """),
    "room": _items("""
        kitchen; bedroom; living room; hallway; bathroom; porch; garage; office; garden; basement
        dining room; attic; nursery; balcony; corridor; laundry room; closet; guest room; patio
        staircase; pantry; study
    """),
    "lang": _items("""
        French; German; Spanish; Italian; Japanese; Portuguese; Korean; Arabic; Hindi; Dutch
        Polish; Turkish; Swedish; Greek; Mandarin; Russian; Czech; Danish; Vietnamese; Finnish
    """),
    "phrase": _items("""
        good morning; thank you; where is the bathroom; how much is this; i would like a coffee
        see you tomorrow; nice to meet you; the bill please; i am lost; happy birthday
        have a good trip; excuse me; i don't understand; congratulations; good night
        is this seat taken
        one ticket please; i am allergic to nuts; what time is it; i love this city
        what a lovely day; can you help me; the train is late; i am hungry; welcome home
        where can i buy a map; it is very cold; two beers please; where do you live; get well soon
    """),
    "hello": _items("""
        hello; goodbye; good morning; i miss you; see you soon; good night; welcome; cheers
        i'm sorry; thank you; good luck; well done; excuse me; never mind; nice to meet you
        happy new year
    """),
    "word": _items("""
        bread; window; butterfly; spoon; umbrella; train; library; music; friend; rain; cheese
        light; timer; alarm; message; street; weather; sugar; breakfast; phone; song; neighbor
        mountain; ticket; onion; reminder; lamp; ladder; cloud; key; bridge; pillow
    """),
    "settable": _items("""
        alarm; timer; kitchen timer; oven timer; morning alarm; sprinkler timer; meeting date
        heating schedule; house alarm; egg timer; dinner date; thermostat timer; car alarm
        weekend alarm
    """),
}

# Connecting phrases: the same in every split, none held out
PHRASES: dict[str, list[str]] = {
    "fix": _items("""
        no wait; i mean; sorry i mean; no sorry; no actually; oops i meant; wait i meant
        no hang on; er i mean; oh wait i mean; hold on i mean; no no i meant
    """),
    "drop": _items("""
        never mind; forget it; never mind that one; forget the whole thing; scratch that last one
        wait no forget it; hang on never mind; oh never mind; forget what i said
        actually never mind; no wait never mind
    """),
    "lamp": ["lights", "lights", "lights", "light", "lamp"],
}

# --------------------------------------------------------------------------------------------------
# Short commands and noun phrases: what pairs and tricky rows are made of
# --------------------------------------------------------------------------------------------------

CORES: dict[str, list[str]] = {
    "set_alarm": _lines("""
        set an alarm for {clock}
        set my alarm for {clock} {day}
        wake me up at {clock}
        wake me at {clock} {day}
        make an alarm for {clock}
        put an alarm on for {clock}
        add an alarm at {clock}
    """),
    "set_timer": _lines("""
        set a timer for {dur}
        start a {duradj} timer
        start a timer for {dur}
        set the {cook} timer to {dur}
        count down {dur}
        put a {duradj} timer on
    """),
    "set_reminder": _lines("""
        remind me to {task}
        remind me about {thing}
        set a reminder to {task}
        add a reminder about {thing}
        make a reminder for {thing}
        set a reminder for {thing}
        create a reminder to {task}
    """),
    "play_music": _lines("""
        play some {genre}
        play {song}
        play my {playlist} playlist
        put on some {genre}
        put on {song} by {artist}
        shuffle the {playlist} playlist
        play the new album by {artist}
    """),
    "send_message": _lines("""
        text {who}
        text {who} about {thing}
        send {who} a message
        message {who} about {thing}
        send a text to {who}
        write {who} a text
        send a message to {who} about {thing}
    """),
    "make_call": _lines("""
        call {who}
        call {business}
        phone {who}
        ring {who}
        give {who} a call
        call {who} about {thing}
        dial {business}
        video call {who}
    """),
    "get_weather": _lines("""
        check the weather in {city}
        check the forecast for {date}
        tell me the weather in {city}
        look up the weather for {date}
        show me the forecast for {city}
        look up the temperature in {city}
        check for rain in {city}
    """),
    "lights_on": _lines("""
        turn on the {room} lights
        turn the {room} lights on
        switch on the {room} lamp
        put the {room} lights on
        switch the {room} light on
        turn on the light in the {room}
    """),
    "lights_off": _lines("""
        turn off the {room} lights
        turn the {room} lights off
        switch off the {room} lamp
        shut the {room} lights off
        switch the {room} light off
        turn off the light in the {room}
    """),
    "get_directions": _lines("""
        get directions to {place}
        navigate to {place}
        find a route to {place}
        show me the way to {place}
        look up the way to {place}
        give me directions to {place}
        find the fastest way to {place}
    """),
    "translate": _lines("""
        translate {phrase} into {lang}
        translate {word} to {lang}
        say {phrase} in {lang}
        put {phrase} into {lang}
        look up the {lang} word for {word}
        tell me how to say {phrase} in {lang}
        translate {phrase} from English to {lang}
    """),
    "cancel": _lines("""
        cancel the {clock} alarm
        cancel the {cook} timer
        delete the reminder about {thing}
        cancel the reminder to {task}
        stop the {duradj} timer
        stop the {playlist} playlist
        remove my alarm for {date}
        cancel the message to {who}
        stop the navigation to {place}
    """),
}

NOUNS: dict[str, list[str]] = {
    "set_alarm": ["an alarm for {clock}", "an alarm at {clock} {day}"],
    "set_timer": ["a timer for {dur}", "a {duradj} timer"],
    "set_reminder": ["a reminder about {thing}", "a reminder to {task}"],
    "play_music": ["some {genre}", "the song {song}", "the {playlist} playlist"],
    "send_message": ["a text to {who}", "a message to {who} about {thing}"],
    "make_call": ["a call to {who}", "a call to {business}", "a call to {who} about {thing}"],
    "get_weather": ["the weather in {city}", "the forecast for {date}", "the weather for {date}"],
    "lights_on": ["the {room} lights on", "the light on in the {room}"],
    "lights_off": ["the {room} lights off", "the light off in the {room}"],
    "get_directions": ["directions to {place}", "a route to {place}", "the way to {place}"],
    "translate": ["the {lang} word for {word}", "the {lang} for {phrase}"],
}

# --------------------------------------------------------------------------------------------------
# Plain frames
# --------------------------------------------------------------------------------------------------

PLAIN: dict[str, list[str]] = {
    "set_alarm": _lines("""
        +set an alarm for {clock}
        +set [my|the] alarm for {clock} {day}
        +wake me [up|] at {clock} [{day}|]
        +wake me up {day} at {clock}
        +make an alarm for {clock}
        +put an alarm on for {clock} {day}
        +set an alarm {day}, like {clock}
        +set a [daily|weekday|weekend|recurring] alarm for {clock}
        +add [an|another|one more] alarm at {clock}
        +get me up at {clock} [{day}|]
        +get me out of bed by {clock} {day}
        +make sure i'm [up|awake] [at|by] {clock}
        +change my alarm to {clock}
        +move my [morning|] alarm to {clock} {day}
        +set two alarms, {clock} and {clock}
        +set an alarm {dur} from now
        +set an alarm for {clock} and name it {cook}
        +have my alarm go off at {clock}
        +schedule [an|a wake up] alarm for {clock} {day}
        i need to be [up|awake|out of bed] [at|by] {clock}
        i have to [get up|wake up] at {clock} {day}
        i need an alarm [for|at] {clock} [{day}|]
        i've got [a flight|a train to catch|a shift|a class], wake me at {clock}
        alarm [for|at] {clock}
        alarm {clock} {day}
        wake-up alarm, {clock} {day}
        new alarm, {clock}
        don't let me sleep past {clock}
        don't let me oversleep, alarm at {clock}
        can i get a wake up [alarm|call] from you at {clock}
        is there a way for you to wake me at {clock} {day}
        i'd like to [wake up|be woken up] at {clock} {day}
        let's do an alarm at {clock}
        big day {day}, get me up at {clock}
        i can't be late {day}, wake me at {clock}
        gotta be up by {clock} {day}
        how about an alarm for {clock} {day}
        same alarm as always, {clock}
        so tired, i need [you to wake me|an alarm] at {clock}
        i keep oversleeping, put an alarm on for {clock}
    """),
    "set_timer": _lines("""
        +set a timer for {dur}
        +set a {duradj} timer
        +start a {duradj} timer [for the {cook}|]
        +start a timer for {dur}
        +set the {cook} timer [to|for] {dur}
        +time {dur} for the {cook}
        +count down [from|] {dur}
        +start counting down {dur}
        +put {dur} on the timer
        +put a {duradj} timer on
        +run a timer for {dur}
        +give me a {duradj} timer
        +give me {dur} on the clock
        +start the clock for {dur}
        +let me know when {dur} [is over|have passed]
        +tell me when {dur} is up
        +beep in {dur}
        +add a second timer for {dur}
        +start two timers, {dur} and {dur}
        +begin a countdown of {dur}
        timer for {dur}
        timer {dur}
        {duradj} timer
        {duradj} countdown
        {duradj} timer for the {cook}
        {dur} for the {cook}, start now
        {cook} timer, {dur}
        countdown {dur} starting now
        i need a timer for {dur}
        i need a {duradj} timer for [the|my] {cook}
        i need {dur} for the {cook}, time it
        just started the {cook}, {dur} on the timer
        it's {cook} time, start a {duradj} timer
        can i get a {duradj} timer
        let's do {dur} on the timer
        how about a timer, {dur}
        i have {dur} for my {cook}, start the timer
        timer on, {dur}
        ready set go, {dur} on the clock
        i'm about to start, time me for {dur}
    """),
    "set_reminder": _lines("""
        +remind me to {task}
        +remind me to {task} {rwhen}
        +remind me {rwhen} to {task}
        +remind me about {thing} [{rwhen}|]
        +set a reminder to {task}
        +set a reminder for {thing} {rwhen}
        +set a reminder {rwhen} to {task}
        +add a reminder to {task} {rwhen}
        +make a reminder about {thing}
        +create a reminder for {thing}
        +put [in|] a reminder about {thing} {rwhen}
        +give me a reminder to {task}
        +help me remember to {task}
        +make sure i remember to {task}
        +make sure i don't forget {thing}
        +make sure i don't forget to {task} {rwhen}
        +nudge me to {task} {rwhen}
        +nudge me about {thing} {rwhen}
        +poke me {rwhen} about {thing}
        +remind me that i have to {task}
        +remind me i need to {task} {rwhen}
        reminder, {task}
        reminder to {task} {rwhen}
        reminder about {thing} {rwhen}
        new reminder, {task} {rwhen}
        i need a reminder to {task}
        i need a reminder about {thing}
        i always forget to {task}, remind me {rwhen}
        i have to {task} {rwhen}, remind me
        i must not forget to {task}
        don't let me forget to {task} [{rwhen}|]
        don't let me forget about {thing}
        can i get a reminder to {task}
        could i have a reminder about {thing} {rwhen}
        i'd like to be reminded to {task}
        i'd like to be reminded of {thing} {rwhen}
        if i don't {task} i'm in trouble, remind me {rwhen}
        so forgetful lately, remind me about {thing}
        {task} {rwhen}, remind me
        what was it, oh right, remind me to {task}
    """),
    "play_music": _lines("""
        +play {song}
        +play {song} by {artist}
        +play some {genre}
        +play [a bit of|some more|a little] {genre}
        +play something by {artist}
        +play the [new|latest|first] album by {artist}
        +play my {playlist} playlist
        +play that {song} song
        +play {artist}
        +play {genre} [on the speaker|in the {room}|]
        +put on some {genre}
        +put on {song}
        +put {artist} on
        +put on my {playlist} playlist
        +put something {genre} like on
        +shuffle my {playlist} playlist
        +shuffle songs by {artist}
        +start the {playlist} playlist
        +turn on some {genre}
        +throw on some {genre}
        +queue up {song}
        +blast some {genre}
        +find {song} by {artist} and play it
        +resume the album by {artist}
        +skip to {song}
        {song} by {artist}
        some {genre} [in the background|for dinner|while i cook|]
        {genre} playlist
        i want to [hear|listen to] {song}
        i want to listen to some {genre}
        i'm in the mood for {genre}
        i feel like some {genre} [right now|tonight|]
        let's [hear|listen to] {song}
        let's hear some {genre}
        can i hear {song} again
        could we have some {genre}
        got any {genre}, i need to relax
        you got anything by {artist}, put it on
        how about some {genre}
        do you have {song}, i want to hear it
        it's too quiet in here, play {artist}
        my favorite, {song}, let's hear it
        time to dance, {genre} on
    """),
    "send_message": _lines("""
        +text {who} that {msg}
        +text {who} {msg}
        +text {who} {shout}
        +send {who} a [text|message] saying {msg}
        +send a [text|message] to {who}
        +send a message to {who} that {msg}
        +message {who} that {msg}
        +message {who}, {msg}
        +message {who} about {thing}
        +tell {who} that {msg}
        +tell {who} {msg}
        +let {who} know {msg}
        +let {who} know that {msg}
        +write to {who} that {msg}
        +write {who} a [text|message] about {thing}
        +shoot {who} a [text|message], {shout}
        +drop {who} a line about {thing}
        +ask {who} by text about {thing}
        +text {who} and ask about {thing}
        +send {shout} to {who}
        +send {who} {shout}
        +reply to {who}, {shout}
        +reply to {who} that {msg}
        +answer {who}'s message with {shout}
        +wish {who} a happy birthday by text
        text to {who}, {shout}
        text to {who}, {msg}
        message for {who}, {msg}
        new message to {who}, {msg}
        {who} should know that {msg}, text them
        i want to text {who} that {msg}
        i need to [text|message] {who} about {thing}
        i need to send {who} a message
        i'd like to send a text to {who}
        could {who} get a message from me, {shout}
        can i send {who} a text saying {msg}
        {msg}, tell {who}
        {msg}, can you let {who} know
        just say {shout} to {who} in a text
        in a text to {who} say {msg}
    """),
    "make_call": _lines("""
        +call {who}
        +call {who} [now|right away|again|back]
        +call {who} on [speaker|the cell|the house phone]
        +call {who} at [work|home]
        +call {business}
        +call {who} about {thing}
        +phone {who}
        +phone {business} about {thing}
        +ring {who}
        +ring {business}
        +ring up {who} about {thing}
        +dial {who}
        +dial {business}
        +give {who} a [call|ring] [about {thing}|]
        +give {business} a [call|ring]
        +get {who} on the [phone|line]
        +get {business} on the phone
        +make a call to {who}
        +place a call to {business}
        +start a [video|voice] call with {who}
        +video call {who}
        +try {who} again on the phone
        +try calling {who}
        +redial {who}
        +put me through to {who}
        +put me through to {business}
        +connect me [to|with] {business}
        i want to [call|talk to] {who} on the phone
        i need to call {who} about {thing}
        i need to speak with {business} on the phone
        i missed a call from {who}, call back
        {who} just rang me, call back
        phone call to {who}
        call to {who} about {thing}
        {who} on the phone, quick
        can i get {business} on the line
        can i talk to {who} on the phone
        could you see if {who} picks up the phone
        haven't heard {who}'s voice in ages, give them a call
        let's call {who} [about {thing}|]
        time to call {who}
    """),
    "get_weather": _lines("""
        what's the weather [like|] in {city}
        what's the weather for {date}
        what is the weather going to be like {day} in {city}
        how's the weather in {city} [{day}|]
        how [cold|hot|warm|windy] is it in {city}
        how cold will it get {day}
        is it [raining|snowing|sunny|cloudy|windy|foggy] in {city} [right now|]
        is it going to [rain|snow|storm|clear up] {day}
        is it going to be [sunny|cold|hot|windy] in {city} {day}
        is it warm enough for shorts in {city}
        will it [rain|snow|hail] {day} [in {city}|]
        will it be [nice|dry|freezing|sunny] {day}
        do i need [an umbrella|a coat|sunscreen|boots|a scarf] {day}
        do i need [an umbrella|a jacket|sunscreen] in {city}
        should i [bring|take] [an umbrella|a jacket|a raincoat] {day}
        what's the temperature in {city}
        what's the forecast for {city} {day}
        what's it like outside
        any rain [in {city}|] {day}
        any chance of [rain|snow|sun|thunder] {day}
        chance of [rain|snow] in {city} {day}
        weather {city}
        weather in {city} {day}
        weather for {date}
        {city} weather {day}
        forecast for {city}
        forecast for {date}
        temperature in {city} right now
        +check the weather in {city} [{day}|]
        +check the forecast for {date}
        +tell me the weather for {date}
        +tell me if it'll rain {day}
        +tell me how warm it is in {city}
        +show me the forecast for {city}
        +give me the [weather|forecast] for {city}
        +look up the weather in {city}
        i'm flying to {city} {day}, what will the weather be like
        i want to know if it will rain {day}
        i hope it's sunny {day}, is it
        thinking about a picnic {day}, will it stay dry
        the sky looks gray, is rain coming
        what should i expect outside {day}, sun or rain
    """),
    "lights_on": _lines("""
        +turn on the {room} {lamp}
        +turn the {room} {lamp} on
        +turn on the {lamp} in the {room}
        +turn on [all|both of|the rest of|] the lights in the {room}
        +switch on the {room} {lamp}
        +switch the {room} {lamp} on
        +put on the {room} {lamp}
        +put the {room} {lamp} on
        +put the {lamp} on in the {room}
        +light up the {room}
        +get the {room} {lamp} on
        +flip the {room} {lamp} on
        +brighten the {room}, it's dark
        +bring up the {room} lights
        +make it bright in the {room}
        +give me some light in the {room}
        +turn the {room} lights on [full|at half brightness|dim|to warm white]
        +turn on the {room} {lamp} and the {room} {lamp}
        {room} {lamp} on
        {lamp} on in the {room}
        lights on, {room}
        light in the {room}
        {room} on, the lights i mean
        it's [dark|too dark|pitch black|so gloomy] in the {room}
        it's getting dark, {room} lights on
        i can't see [anything|a thing|] in the {room}
        i can't see, turn on the {room} {lamp}
        i need [some|more|] light in the {room}
        i want the {room} {lamp} on
        i'd like the {room} lights [on|turned on|switched on]
        i'm going to the {room}, lights on
        i'm home, {room} lights on
        we need the {room} {lamp} on
        someone turned down the {room} lamp, switch it on
        can i get [some|] light in the {room}
        can i have the {room} {lamp} on
        could we get the {room} lights on
        how about some light in the {room}
        why is it so dark in the {room}, turn the lights on
        let there be light in the {room}
        let's have the {room} {lamp} on
    """),
    "lights_off": _lines("""
        +turn off the {room} {lamp}
        +turn the {room} {lamp} off
        +turn off the {lamp} in the {room}
        +turn off [all|both of|the rest of|] the lights in the {room}
        +switch off the {room} {lamp}
        +switch the {room} {lamp} off
        +shut off the {room} {lamp}
        +shut the {room} {lamp} off
        +put out the {room} {lamp}
        +put the {room} {lamp} out
        +kill the {room} {lamp}
        +kill the {lamp} in the {room}
        +cut the {room} lights
        +get the {room} {lamp} off
        +flip the {room} {lamp} off
        +make it dark in the {room}
        +make the {room} dark
        +turn everything off in the {room}, all the lights
        +turn off the {room} {lamp} and the {room} {lamp}
        {room} {lamp} off
        {lamp} off in the {room}
        lights off, {room}
        lights out in the {room}
        {room} off, the lights i mean
        it's too bright in the {room}, lights off
        i'm going to [bed|sleep], {room} {lamp} off
        i'm leaving the {room}, lights off
        i'm done in the {room}, switch the {lamp} off
        i forgot to turn off the {room} {lamp}, can you
        i want the {room} {lamp} off
        i'd like the {room} lights [off|turned off|switched off]
        i don't need the {room} {lamp} anymore
        nobody is in the {room}, turn the {lamp} off
        we don't need light in the {room} now
        can i have the {room} {lamp} off
        could we get the {room} lights off
        why is the {room} lamp still burning, turn it off
        save some power, {room} {lamp} off
        let's have the {room} {lamp} off
        good night, {room} lights off
    """),
    "get_directions": _lines("""
        how do i get to {place}
        how do i get to {place} from {place}
        how do i get from {place} to {place}
        how do i [drive|walk|bike] to {place}
        how can i get to {place} [by bus|on foot|by bike|without tolls|]
        what's the [fastest|best|shortest|easiest] way to {place}
        what's the [fastest|best|shortest] route to {place} from here
        what's the way to {who}'s [place|house|office]
        which way to {place}
        which [bus|train|road] takes me to {place}
        where is {place}, i need to get there
        where's {place} and how do i get there
        directions to {place}
        directions to {who}'s [place|house|office]
        directions from {place} to {place}
        walking directions to {place}
        route to {place}
        way to {place} from {place}
        to {place}, fastest way
        +get [me|] directions to {place}
        +give me directions [to|for getting to] {place}
        +show me the way to {place}
        +show me how to get to {place} [by bus|on foot|]
        +show the route to {place} on the map
        +find [a|the quickest|a scenic] route to {place}
        +find me a way to {place} that avoids traffic
        +navigate to {place}
        +navigate me to {who}'s [place|house]
        +start navigation to {place}
        +take me to {place}
        +take me to {who}'s [place|house|office]
        +guide me to {place}
        +plot a route from {place} to {place}
        +map the way to {place}
        i need directions to {place}
        i need to [get|go] to {place}, which way
        i'm lost, how do i get to {place}
        i'm at {place}, how do i get to {place}
        i want to [drive|walk] to {place}, show me the way
        can i walk to {place} from here, show me the route
        let's go to {place}, which way
        heading to {place}, what's the route
    """),
    "translate": _lines("""
        how do you say {phrase} in {lang}
        how do i say {phrase} in {lang}
        how would you say {phrase} in {lang}
        how do {lang} speakers say {phrase}
        how do you write {word} in {lang}
        what is {word} in {lang}
        what's the {lang} word for {word}
        what's the {lang} for {phrase}
        what's {lang} for {word}
        what would a {lang} speaker say for {word}
        what does {phrase} sound like in {lang}
        {phrase}, in {lang}
        the word {word} in {lang}
        {lang} for {phrase}
        {lang} word for {word}
        {lang} translation of {phrase}
        the {lang} word for {word}, what is it
        +translate {phrase} [into|to] {lang}
        +translate {word} [into|to] {lang}
        +translate the word {word} into {lang}
        +translate from English to {lang}, {phrase}
        +translate this into {lang}, {phrase}
        +translate {phrase} for my {lang} friend
        +say {phrase} in {lang}
        +put {phrase} into {lang}
        +turn {phrase} into {lang}
        +give me the {lang} for {phrase}
        +give me the {lang} word for {word}
        +tell me how to say {phrase} in {lang}
        +tell me what {word} is in {lang}
        +teach me to say {phrase} in {lang}
        +write {phrase} in {lang}
        i want to say {phrase} in {lang}
        i need the {lang} word for {word}
        i need to know {phrase} in {lang}
        i'm learning {lang}, how do you say {word}
        i forgot the {lang} word for {word}, what is it
        i need a {lang} translation, {phrase}
        is there a {lang} word for {word}
        can i get {phrase} in {lang}
        do you know how to say {phrase} in {lang}
        quick {lang} question, how do i say {word}
    """),
    "cancel": _lines("""
        +cancel [my|the] {clock} alarm
        +cancel my alarm [for|] {day}
        +cancel the alarm i set for {clock}
        +cancel the {cook} timer
        +cancel the {duradj} timer
        +cancel the reminder to {task}
        +cancel the reminder about {thing}
        +cancel [my|the] [text|message|call] to {who}
        +cancel the route to {place}
        +cancel that {lang} translation
        +delete [my|the] {clock} alarm
        +delete the reminder about {thing}
        +delete the {cook} timer
        +remove the reminder to {task}
        +remove my alarm {day}
        +clear [all my|the] alarms for {date}
        +stop the {cook} timer
        +stop the {duradj} timer
        +stop the {playlist} playlist
        +stop playing {song}
        +stop playing {artist}
        +stop the navigation to {place}
        +stop reminding me to {task}
        +call off the alarm for {clock}
        +turn off [my|the] {clock} alarm
        +turn off the {genre} playlist
        +shut off the {cook} timer
        +undo that reminder about {thing}
        never mind [the|about the] {cook} timer
        never mind the directions to {place}
        forget [the|about the] reminder to {task}
        forget about the alarm at {clock}
        i don't need the {cook} timer [anymore|any more]
        i don't need the alarm for {clock} anymore
        i don't need to be woken up at {clock} anymore, cancel it
        all done with {thing}, delete the reminder
        i'm up, cancel the {clock} alarm
        no more {genre} for now, stop the music
        no alarm {day}, remove it
        don't send that [message|text] to {who}
        don't wake me {day} after all
        enough of {artist}, stop
        done with the {cook}, stop the timer
        i changed my mind about the {clock} alarm, drop it
        can i cancel the {clock} alarm
        scratch the reminder about {thing}
        alarm at {clock}, get rid of it
        never mind
        forget it
        never mind, i'll do it myself
    """),
}

# --------------------------------------------------------------------------------------------------
# Tricky frames: words of other intents inside slots, context or corrections
# --------------------------------------------------------------------------------------------------

# {cmd}: any short command; {act}: a short command that does not say "me"
TRICKY: dict[str, list[str]] = {
    "set_alarm": _lines("""
        +set an alarm for {clock}, i have to call {who}
        +set an alarm for {clock}, i need to text {who} then
        +wake me at {clock} so i can {act}
        +wake me up at {clock}, i have to {act} {day}
        +set an alarm for {clock} and name it {act}
        +set an alarm named {act} for {clock}
        +set an alarm for {clock} that plays {song}
        +set an alarm for {clock} with some {genre} as the sound
        +set an alarm for {clock}, {fix}, for {clock}
        +wake me at {clock}, {fix}, at {clock}
        i cancelled my alarm by mistake, set it again for {clock}
        i turned off my alarm, put it back on for {clock}
        i have a call with {who} {day}, wake me at {clock}
        it's raining {day}, so wake me earlier, like {clock}
        i have to drive to {place} {day}, alarm at {clock}
        alarm for {clock}, that's when i {act}
        no reminder, no timer, just wake me at {clock}
    """),
    "set_timer": _lines("""
        +set a timer for {dur}, then i have to call {who}
        +set a {duradj} timer for my call with {who}
        +start a {duradj} timer named {act}
        +set a timer for {dur} and name it {act}
        +time my call to {who}, {dur} at most
        +start a {duradj} timer, i have to {act} after that
        +set a timer for {dur}, {fix}, {dur}
        +start a {duradj} timer, {fix}, a {duradj} one
        i cancelled the {cook} timer, start it again, {dur}
        i need to {act} in {dur}, start a timer
        the lights have to be off in {dur}, set a timer
        {who} is calling me back in {dur}, start the timer
        {duradj} timer, that's how long the {genre} lasts
        no alarm, no reminder, just count down {dur}
        it stops raining in {dur} so start a {duradj} timer
        {dur} on the timer, i don't want to miss {who}'s call
    """),
    "set_reminder": _lines("""
        +remind me to {act}
        +remind me to {act} {rwhen}
        +remind me {rwhen} to {act}
        +set a reminder to {act}
        +set a reminder to {act} {rwhen}
        +add a reminder to call {who} about {thing}
        +remind me to call {who} to play the new song by {artist}
        +remind me that {who} will call {rwhen}
        +remind me that the {room} lights stay on {rwhen}
        +remind me to ask {who} for directions to {place}
        +make sure i don't forget to {act}
        +remind me to {act}, {fix}, to {task}
        don't let me forget to {act}
        don't let me forget that {who} is going to call
        i need a reminder to {act}
        i have to {act} {rwhen}, remind me
        i texted {who} already, now remind me about {thing}
        if i don't {act} i'm in trouble, remind me {rwhen}
        reminder, {act}
        no alarm, no timer, just remind me to {task}
    """),
    "play_music": _lines("""
        +play {songcmd}
        +play the song {songcmd}
        +play {songcmd} by {artist}
        +play that song called {songcmd}
        +put on {songcmd}
        +put on the album {songcmd} by {artist}
        +queue up {songcmd} and then {songcmd}
        +play some {genre} while i call {who}
        +play some {genre} until my {clock} alarm
        +play the {lang} version of {song}
        +play the song {who} sent me in that text, {song}
        +play some {genre}, {fix}, some {genre}
        +turn on some {genre}, the lights are fine
        i want to hear {songcmd}
        let's hear {songcmd} by {artist}
        it's raining in {city}, so play {songcmd}
        the song {songcmd}, i want to hear it
        {songcmd} by {artist}
        lights are off already, put some {genre} on
        off to {place}, put some {genre} on for the road
    """),
    "send_message": _lines("""
        +text {who} to {cmd}
        +tell {who} to {cmd}
        +message {who} and ask them to {cmd}
        +send {who} a text asking them to {cmd}
        +send {who} a message saying the alarm is set for {clock}
        +text {who} that the alarm is set for {clock}
        +text {who} that it's going to rain {day}
        +text {who} what the weather is like in {city}
        +let {who} know the {room} lights are still on
        +let {who} know the {room} lights are off again
        +tell {who} the timer is set to {dur}
        +send {who} directions to {place}
        +text {who} the way to {place}
        +text {who} how to get to {place}
        +text {who} a reminder to {task}
        +tell {who} i'll call {day}
        +send {who} the song {song}
        +text {who} how to say {hello} in {lang}
        +text {who} never mind about {thing}
        +text {who}, {fix}, text {who} about {thing}
        let {who} know that i cancelled {thing}
        i can't call {who} right now, so text them that {msg}
        message to {who}, please {cmd}
        in a text to {who} say play {song}
    """),
    "make_call": _lines("""
        +call {who} and tell them to {cmd}
        +call {who} and ask them to {cmd}
        +call {who} to remind them about {thing}
        +call {who} to remind them to {task}
        +phone {who} and ask if it's raining in {city}
        +call {who} and ask for directions to {place}
        +call {business} and ask for the way to {place}
        +call {who} about the message on {thing}
        +call {who}, it's about the alarm
        +ring {who} about the {room} lights
        +call {business} to cancel my appointment
        +call {business} and cancel the booking for {date}
        +call my {lang} teacher
        +phone the music shop
        +call the weather hotline in {city}
        +call the {lang} translation office
        +call the light bulb store about {thing}
        +call {who}, {fix}, call {who}
        i texted {who} but got no answer, so give them a call
        no texts, just call {who}
        it's too late for a text, ring {who}
        i don't want to message {who}, get them on the phone
    """),
    "get_weather": _lines("""
        will it rain during my call with {who} {day}
        will it be dry when my alarm goes off at {clock}
        is it going to be cold on the way to {place} {day}
        what's the weather like on the route to {city}
        what's the weather on the drive to {place}
        will it still be raining when the {duradj} timer ends
        is it too wet to play music in the {room} {day}
        do i need an umbrella to walk to {place} {day}
        should i tell {who} to bring an umbrella, will it rain {day}
        before you remind me about the picnic, is it raining in {city}
        +check if it will rain at {clock} when my alarm rings
        +tell me the weather where {who} is, that's {city}
        +check the weather in {city}, {fix}, in {city}
        +tell me if it'll be sunny for my trip to {place} {day}
        i got a text about a storm in {city}, is it true
        {who} called and said it's snowing in {city}, is it
        the lights went out, is there a storm in {city}
        how's the weather in {city}, i want to call {who} outside
        song on the radio says it never rains in {city}, is it raining now
        not asking for directions, how cold is it in {city}
        cancelled my picnic for nothing, is it sunny {day}
    """),
    "lights_on": _lines("""
        +turn on the {room} {lamp}, i'm off to bed soon
        +turn on the {room} {lamp}, i have to call {who}
        +turn the {room} lights on so i can {act}
        +turn on the {room} lights, {fix}, the {room} ones
        +switch on the {room} {lamp}, the alarm went off
        +turn on the {room} {lamp}, i can't read {who}'s text
        +turn the {room} lights back on, i didn't want them off
        +light up the {room}, {who} is going to call
        the music is off, now turn the {room} lights on
        {who} told me to turn the {room} lights on, do it
        my alarm went off, {room} lights on
        the timer went off and i can't see, {room} lights on
        i'm off the phone, put the {room} lights on
        i can't find my phone to call {who}, light up the {room}
        i can't see the timer, {room} {lamp} on
        not the music, turn on the {room} lights
        the storm made it dark, {room} lights on
        when i get off the couch i want the {room} lights on, so do that now
    """),
    "lights_off": _lines("""
        +turn off the {room} {lamp}, i'm on the phone
        +turn off the {room} {lamp}, the music can stay on
        +turn the {room} lights off so i can {act}
        +turn off the {room} lights, {fix}, the {room} ones
        +switch off the {room} {lamp}, my alarm is at {clock}
        +turn off the {room} {lamp}, not the alarm
        +turn off the {room} {lamp}, not the music
        +turn the {room} lights back off, i didn't want them on
        +kill the {room} {lamp}, i'm on a call with {who}
        the movie is on, {room} lights off
        the music is on, now turn the {room} lights off
        {who} told me to turn the {room} lights off, do it
        i'm on my way to bed, {room} lights off
        on the phone with {who}, lights off in the {room}
        the sun is on my side, {room} {lamp} off
        i got on the bus to {place} with the {room} lights burning, turn them off
        not the music, turn off the {room} lights
        the rain is over and it's sunny, {room} lights off
    """),
    "get_directions": _lines("""
        directions to the music shop near {place}
        how do i get to the weather station near {place}
        how do i get to the call center from {place}
        where's the nearest place to buy a kitchen timer, show me the way
        how do i get to the light bulb store near {place}
        route to the {lang} school next to {place}
        how do i get to {place} before my {clock} alarm
        how do i get to {place}, i told {who} i'd be there at {clock}
        +navigate to {place}, {fix}, to {place}
        +take me to {place}, {fix}, to {place}
        +show me how to get to {place} if it rains
        +get directions to {who}'s office, they sent me a message
        +find a dry route to {place}, it's raining
        i got a text from {who}, how do i get to their place
        {who} didn't answer my call, show me the way to their house
        {who} is going to play {genre} at {place}, how do i get there
        don't read me the forecast, which way to {place}
        i turned off the highway, how do i get to {place} now
        the alarm shop by {place}, how do i get there
        i need the way to the {lang} restaurant by {place}
        the message says meet at {place}, which way do i go
        no need for a reminder, i only need the way to {place}
    """),
    "translate": _lines("""
        how do you say {cmd} in {lang}
        how do i say {cmd} in {lang}
        how would you say {cmd} in {lang}
        what is {cmd} in {lang}
        what's the {lang} for {cmd}
        what does {cmd} sound like in {lang}
        {lang} for {cmd}
        +translate {cmd} into {lang}
        +translate {cmd} to {lang}
        +translate the song title {songcmd} into {lang}
        +translate {who}'s message into {lang}
        +translate {phrase} into {lang}, {fix}, into {lang}
        +tell me how to say {cmd} in {lang}
        +teach me to say {cmd} in {lang}
        +translate what's the weather like today into {lang}
        +translate how do i get to {place} into {lang}
        how do you say is it going to rain in {lang}
        how do you say what's the way to {place} in {lang}
        i want to text {who} good night, how do you say that in {lang}
        i want to tell {who} that {msg}, how do i say it in {lang}
        i'm on the phone with {who}, what's the {lang} word for {word}
        the song is called {songcmd}, what is that in {lang}
        {who} texted me {hello} in {lang}, what does it mean
    """),
    "cancel": _lines("""
        +cancel the reminder to {act}
        +delete the reminder to {act}
        +cancel the reminder to call {who}
        +cancel my call with {who} {day}
        +cancel the timer named {act}
        +cancel the text asking {who} to {act}
        +turn off the {clock} alarm, not the lights
        +turn off the music in the {room}
        +turn off the music, leave the {room} lights on
        +cancel the {clock} alarm, {fix}, the {clock} one
        +stop the song {songcmd}
        +stop playing {songcmd}
        +stop playing music in the {room}, the lights are fine
        i know i said {cmd}, but never mind
        i asked you to {cmd}, but forget it now
        i asked you to remind me to {act}, you can drop that
        i told you to {cmd}, please undo that
        i don't need a reminder to {act} anymore
        i don't need you to {cmd} anymore, forget it
        you don't need to remind me to {act} anymore
        could you {cmd}, hmm, no, never mind, forget it
        {who} already called me, delete the reminder to call them
        i found {place} already, stop the directions
        it's raining, so cancel the reminder to {task}
    """),
}

# Context in front of or behind a command that has nothing to do with it
BEFORE = _lines("""
    just got off the phone with {who}
    {who} just texted me
    my alarm went off late today
    it's been raining all day
    i've had {song} stuck in my head all day
    my {lang} class starts soon
    {who} is about to call me
    just got back from {place}
    the lights went out earlier but all is fine now
    i cancelled my gym class
    the timer for the {cook} is still running
    i set an alarm earlier
    i know it's going to snow {day}
    someone left me a message about {thing}
    this song is so good
""")
AFTER = _lines("""
    {who} is calling me
    i'm on the phone
    i'm off work today
    i'll text {who} later
    i'll call {who} later myself
    my alarm rings in a bit
    the weather is awful anyway
    then i can go back to my music
    i'm reading by the {room} lamp
    i'm on my way to {place}
    i was just looking at the forecast
    not that {lang} song again
    the {cook} timer is about to go off
""")

# --------------------------------------------------------------------------------------------------
# Mirrored pairs: both rows have the same words, their order decides
# --------------------------------------------------------------------------------------------------

# Each group: phrase 1, phrase 2, intent of phrase 1, intent of phrase 2, and frames. A frame starts
# with 1 or 2: the position whose phrase decides the intent.
GROUPS: list[tuple[str, str, str, str, list[str]]] = [
    (
        "on",
        "off",
        "lights_on",
        "lights_off",
        _lines("""
            2 +turn <1>, {fix}, turn <2> the {room} {lamp}
            2 +switch <1>, {fix}, <2> the {room} {lamp}
            2 +turn the {room} lights <1>, {fix}, <2>
            2 {room} lights <1>, {fix}, <2>
            2 the {room} lights are <1>, [i want them|they should be|turn them|switch them] <2>
            2 why is the {room} lamp <1>, [i want it|turn it|it should be|put it] <2>
            2 someone left the {room} lights <1>, [turn|switch|put] them <2>
            2 +switch the {room} lights from <1> to <2>
            2 not <1>, turn the {room} lights <2>
            2 the {room} [light|lamp] went <1> by itself, turn it back <2>
            2 don't turn the {room} lights <1>, turn them <2>
            2 i turned the {room} lights <1> by mistake, [turn|put] them back <2>
            2 i don't like the {room} lights <1>, i need them <2>
            1 i said <1>, not <2>, for the {room} lights
            1 +turn the {room} lights <1>, not <2>
            1 {room} lights <1>, don't [leave|keep] them <2>
            1 +put the {room} lights <1> instead of <2>
            1 the {room} [light|lamp] should be <1>, it's <2> right now
            1 i asked for the {room} lights <1> and they are still <2>
        """),
    ),
    (
        "a timer",
        "an alarm",
        "set_timer",
        "set_alarm",
        _lines("""
            2 +set <1>, {fix}, <2> [to go off in|for] {dur}
            2 +set <1>, {fix}, <2> that rings at {clock}
            2 not <1>, set <2> for {dur}
            2 i already have <1>, now i need <2> [that goes off in|for] {dur}
            2 i set <1> but i need <2> for {dur}
            2 don't set <1>, set <2> for {dur}
            2 <1> for {dur}, {fix}, <2>
            2 rather than <1>, [start|set] <2> for {dur}
            1 +set <1> for {dur}, not <2>
            1 i need <1>, not <2>, for {dur}
            1 i asked for <1> and got <2>, try again with {dur}
            1 +give me <1> instead of <2> for {dur}
            1 i need <1> for {dur}, <2> won't do
        """),
    ),
    (
        "call",
        "text",
        "make_call",
        "send_message",
        _lines("""
            2 +<1>, {fix}, <2> {who}
            2 don't <1> {who}, just <2> them
            2 +return {name}'s <1> with a <2>
            2 i was going to <1> {who} but <2> them instead
            2 {who} [hates|doesn't like] it when i <1>, so <2> them
            2 {who} missed my <1>, so <2> them
            2 {who} didn't see my <1>, so now <2> them
            1 +<1> {who}, don't <2> them
            1 +<1> {who} about the <2> [from {name}|i got|i missed]
            1 a <1> instead of a <2> to {who}
            1 +<1> {who} about {name}'s <2>
            1 i want to <1> {who}, not <2> them
            1 +<1> {who} to say i got the <2>
            1 i'd rather <1> than <2> {who}
            1 +<1> {who} because {name} wants a <2> from them
        """),
    ),
    (
        "remind me",
        "text {who}",
        "set_reminder",
        "send_message",
        _lines("""
            1 +<1> to <2> about {thing}
            1 +<1> to <2> {rwhen}
            2 +<1>, {fix}, <2> about {thing}
            2 don't <1>, just <2> about {thing}
            1 +<1> about {thing}, don't <2>
            1 +<1> to <2> to {act}
        """),
    ),
    (
        "remind me",
        "message {who} and ask them",
        "set_reminder",
        "send_message",
        ["1 +<1> to <2> about {thing}", "1 +<1> to <2> about {thing} {rwhen}"],
    ),
    (
        "remind me",
        "call {who} and ask them",
        "set_reminder",
        "make_call",
        ["1 +<1> to <2> about {thing}", "1 +<1> to <2> about {thing} {rwhen}"],
    ),
    (
        "remind me",
        "call {who}",
        "set_reminder",
        "make_call",
        _lines("""
            2 +<1>, {fix}, <2> about {thing}
            2 don't <1>, just <2> about {thing}
            1 +<1> about {thing}, don't <2>
        """),
    ),
    (
        "set an alarm for {clock}",
        "text {who}",
        "set_alarm",
        "send_message",
        ["1 +<1> to <2>", "1 +<1> to <2> about {thing}"],
    ),
    (
        "set a timer for {dur}",
        "text {who}",
        "set_timer",
        "send_message",
        ["1 +<1> to <2>", "1 +<1> to <2> about {thing}"],
    ),
    (
        "cancel the {clock} alarm",
        "text {who}",
        "cancel",
        "send_message",
        ["1 +<1> to <2>", "1 +<1> to <2> about {thing}"],
    ),
    ("play the song", "remind me to", "play_music", "set_reminder", ["1 +<1> <2> {tail}"]),
    ("play the song", "text {name} to", "play_music", "send_message", ["1 +<1> <2> {tail}"]),
    (
        "play the song",
        "how do you say",
        "play_music",
        "translate",
        ["1 <1> <2> {hello} in {lang}", "1 <1> <2> {tail} in {lang}"],
    ),
    (
        "text {who}",
        "how do you say",
        "send_message",
        "translate",
        ["1 <1> <2> {hello} in {lang}"],
    ),
    (
        "remind me to learn",
        "how to say",
        "set_reminder",
        "translate",
        ["1 <1> <2> {hello} in {lang}"],
    ),
    ("set", "cancel", "set_reminder", "cancel", ["1 +<1> the reminder to <2> the {settable}"]),
    (
        "the weather",
        "directions",
        "get_weather",
        "get_directions",
        _lines("""
            2 +give me <1>, {fix}, <2> for the trip to {city}
            1 +show me <1>, not <2>, for the trip to {city}
            1 i need <1> for the drive to {city}, i already have <2>
            2 i don't need <1>, i need <2> for my trip to {city}
            1 +look up <1> instead of <2> for the drive to {city}
            1 i asked for <1> and you gave me <2>, try again, {city}
        """),
    ),
    (
        "play",
        "stop",
        "play_music",
        "cancel",
        _lines("""
            2 +<1>, {fix}, <2> the {playlist} playlist
            2 don't <1> the {playlist} playlist, <2> it
            1 i said <1> the {playlist} playlist, not <2> it
            1 +<1> {song}, don't <2> it
        """),
    ),
    (
        "set",
        "cancel",
        "set_alarm",
        "cancel",
        _lines("""
            2 +<1>, {fix}, <2> the alarm for {clock}
            2 don't <1> the alarm for {clock}, <2> it
            1 i said <1> the {clock} alarm, not <2> it
            1 +<1> the alarm for {clock}, don't <2> it
        """),
    ),
    (
        "start",
        "stop",
        "set_timer",
        "cancel",
        _lines("""
            2 +<1>, {fix}, <2> the {cook} timer
            2 don't <1> the {duradj} timer, <2> it
            1 i said <1> the {cook} timer, not <2> it
        """),
    ),
    (
        "add",
        "delete",
        "set_reminder",
        "cancel",
        _lines("""
            2 +<1>, {fix}, <2> the reminder about {thing}
            2 don't <1> the reminder to {task}, <2> it
            1 i said <1> the reminder about {thing}, not <2> it
        """),
    ),
    (
        "send",
        "cancel",
        "send_message",
        "cancel",
        _lines("""
            2 +<1>, {fix}, <2> the message to {who}
            2 don't <1> the message to {who}, <2> it
            1 +<1> the message to {who}, don't <2> it
        """),
    ),
    (
        "the {room} lights",
        "the music",
        "lights_on",
        "play_music",
        _lines("""
            2 +turn on <1>, {fix}, <2>
            1 +turn on <1>, not <2>
            2 don't turn on <1>, turn on <2>
        """),
    ),
    (
        "the {room} lights",
        "the [music|{clock} alarm]",
        "lights_off",
        "cancel",
        _lines("""
            2 +turn off <1>, {fix}, <2>
            1 +turn off <1>, not <2>
            2 don't turn off <1>, turn off <2>
        """),
    ),
    (
        "an alarm",
        "a reminder",
        "set_alarm",
        "set_reminder",
        _lines("""
            2 +set <1>, {fix}, <2> for {thing} at {clock}
            1 i need <1> for {thing} at {clock}, not <2>
            2 not <1>, set <2> for {thing} at {clock}
            1 +make <1> instead of <2> for {thing} at {clock}
        """),
    ),
    (
        "a timer",
        "a reminder",
        "set_timer",
        "set_reminder",
        _lines("""
            2 +set <1>, {fix}, <2> for the {cook} in {dur}
            1 +set <1> for the {cook}, {dur}, not <2>
        """),
    ),
]

# Two short commands of different intents; the number says which one counts
COMMAND_PAIRS = _lines("""
    2 +<1>, {fix}, <2>
    2 +<1>, {fix}, <2>
    2 +<1>, {fix}, <2>
    2 +<1>, {fix}, <2>
    2 don't <1>, <2>
    2 don't <1>, just <2>
    2 no need to <1>, just <2>
    2 rather than <1>, <2>
    2 i didn't say <1>, i said <2>
    2 i said <1> but i meant <2>
    1 +<1>, don't <2>
    1 +<1>, no need to <2>
    1 +<1> rather than <2>
""")

# The same, for commands that the speaker could carry out too
ACTION_PAIRS = _lines("""
    2 before i <1>, <2>
    2 i'll <1> myself, you <2>
    1 +<1> before i <2>
    1 +<1> so i can <2>
    1 you <1>, i'll <2> myself
""")

# The same, for noun phrases
NOUN_PAIRS = _lines("""
    2 i need <1>, {fix}, <2>
    2 could i have <1>, {fix}, <2>
    2 <1>, {fix}, <2>
    2 i don't want <1>, i want <2>
    2 not <1>, i need <2>
    2 you gave me <1> but i asked for <2>
    1 i want <1>, not <2>
    1 <1> instead of <2>
    1 i asked for <1> and you gave me <2>
""")

# --------------------------------------------------------------------------------------------------
# Style: politeness, hesitation, typos, case, punctuation
# --------------------------------------------------------------------------------------------------

POLITE = _items("""
    please; can you; could you; can you please; could you please; would you; i need you to
    i want you to; go ahead and; just; pls; can you just; i'd like you to; quickly
""")
OPENERS = _items("""
    hey; hi; ok; okay so; um; uh; so; hello there; right; alright; hey there; yo; quick one; ok so
    hmm; well; hey assistant; assistant; oh hey; er; sorry to bug you
""")
CLOSERS = _items("please; thanks; thank you; pls; thx; cheers; thank you so much; ok; ty")
FILLED_PAUSES = ["um", "uh", "er", "hmm", "uhm"]
SHORTHAND = {
    "please": "plz",
    "tomorrow": "tmrw",
    "tonight": "tonite",
    "you": "u",
    "thanks": "thnx",
    "minutes": "mins",
    "because": "cuz",
    "going": "goin",
    "and": "n",
    "okay": "k",
    "message": "msg",
}
QUESTION_WORDS = _items("""
    what; what's; how; how's; is; will; do; does; which; where; where's; why; should; any; who
    could; can; would; chance; got
""")
